-- The warehouse: eight dimensions, three facts with their whole history, and the views of now.

create table dim_date (
    date_id date primary key,
    year integer not null,
    month integer not null,
    day integer not null,
    day_of_week integer not null,
    day_name varchar not null,
    month_name varchar not null,
    quarter integer not null,
    is_deleted boolean not null,
    run_id varchar not null
);

create table dim_staff (
    staff_id integer primary key,
    first_name varchar not null,
    last_name varchar not null,
    department_name varchar not null,
    location varchar,
    email_address varchar not null,
    is_deleted boolean not null,
    run_id varchar not null
);

create table dim_location (
    location_id integer primary key,
    address_line_1 varchar not null,
    address_line_2 varchar,
    district varchar,
    city varchar not null,
    postal_code varchar not null,
    country varchar not null,
    phone varchar not null,
    is_deleted boolean not null,
    run_id varchar not null
);

create table dim_currency (
    currency_id integer primary key,
    currency_code varchar not null,
    currency_name varchar not null,
    is_deleted boolean not null,
    run_id varchar not null
);

create table dim_design (
    design_id integer primary key,
    design_name varchar not null,
    file_location varchar not null,
    file_name varchar not null,
    is_deleted boolean not null,
    run_id varchar not null
);

create table dim_counterparty (
    counterparty_id integer primary key,
    counterparty_legal_name varchar not null,
    counterparty_legal_address_line_1 varchar not null,
    counterparty_legal_address_line_2 varchar,
    counterparty_legal_district varchar,
    counterparty_legal_city varchar not null,
    counterparty_legal_postal_code varchar not null,
    counterparty_legal_country varchar not null,
    counterparty_legal_phone_number varchar not null,
    is_deleted boolean not null,
    run_id varchar not null
);

create table dim_payment_type (
    payment_type_id integer primary key,
    payment_type_name varchar not null,
    is_deleted boolean not null,
    run_id varchar not null
);

create table dim_transaction (
    transaction_id integer primary key,
    transaction_type varchar not null,
    sales_order_id integer,
    purchase_order_id integer,
    is_deleted boolean not null,
    run_id varchar not null
);

create table fact_sales_order (
    sales_record_id bigint primary key,
    sales_order_id integer not null,
    created_date date not null references dim_date (date_id),
    created_time time not null,
    last_updated_date date not null references dim_date (date_id),
    last_updated_time time not null,
    sales_staff_id integer not null references dim_staff (staff_id),
    counterparty_id integer not null references dim_counterparty (counterparty_id),
    units_sold integer not null,
    unit_price numeric not null,
    currency_id integer not null references dim_currency (currency_id),
    design_id integer not null references dim_design (design_id),
    agreed_payment_date date not null references dim_date (date_id),
    agreed_delivery_date date not null references dim_date (date_id),
    agreed_delivery_location_id integer not null references dim_location (location_id),
    is_deleted boolean not null,
    run_id varchar not null
);

create table fact_purchase_order (
    purchase_record_id bigint primary key,
    purchase_order_id integer not null,
    created_date date not null references dim_date (date_id),
    created_time time not null,
    last_updated_date date not null references dim_date (date_id),
    last_updated_time time not null,
    staff_id integer not null references dim_staff (staff_id),
    counterparty_id integer not null references dim_counterparty (counterparty_id),
    item_code varchar not null,
    item_quantity integer not null,
    item_unit_price numeric not null,
    currency_id integer not null references dim_currency (currency_id),
    agreed_delivery_date date not null references dim_date (date_id),
    agreed_payment_date date not null references dim_date (date_id),
    agreed_delivery_location_id integer not null references dim_location (location_id),
    is_deleted boolean not null,
    run_id varchar not null
);

create table fact_payment (
    payment_record_id bigint primary key,
    payment_id integer not null,
    created_date date not null references dim_date (date_id),
    created_time time not null,
    last_updated_date date not null references dim_date (date_id),
    last_updated_time time not null,
    transaction_id integer not null references dim_transaction (transaction_id),
    counterparty_id integer not null references dim_counterparty (counterparty_id),
    payment_amount numeric not null,
    currency_id integer not null references dim_currency (currency_id),
    payment_type_id integer not null references dim_payment_type (payment_type_id),
    paid boolean not null,
    payment_date date not null references dim_date (date_id),
    is_deleted boolean not null,
    run_id varchar not null
);

create index fact_sales_order_history on fact_sales_order (sales_order_id, sales_record_id desc);
create index fact_purchase_order_history on fact_purchase_order (purchase_order_id, purchase_record_id desc);
create index fact_payment_history on fact_payment (payment_id, payment_record_id desc);

create view current_sales_order as
select * from (
    select distinct on (sales_order_id) *
    from fact_sales_order
    order by sales_order_id, sales_record_id desc
) as latest
where not is_deleted;

create view current_purchase_order as
select * from (
    select distinct on (purchase_order_id) *
    from fact_purchase_order
    order by purchase_order_id, purchase_record_id desc
) as latest
where not is_deleted;

create view current_payment as
select * from (
    select distinct on (payment_id) *
    from fact_payment
    order by payment_id, payment_record_id desc
) as latest
where not is_deleted;

comment on view current_sales_order is 'The latest version of every sales order that has not been deleted';
comment on view current_purchase_order is 'The latest version of every purchase order that has not been deleted';
comment on view current_payment is 'The latest version of every payment that has not been deleted';
