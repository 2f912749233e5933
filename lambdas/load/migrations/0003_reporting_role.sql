-- Who reports reads the star schema and its runs, and nothing else: grant totesys_reporting to them.
-- Where this user may not create roles, docs/operations.md has what an administrator runs instead.

do $$
begin
    if not exists (select from pg_roles where rolname = 'totesys_reporting') then
        create role totesys_reporting nologin;
    end if;
exception
    -- A role belongs to the whole server: another database's load may be making it.
    when duplicate_object or unique_violation then
        null;
    when insufficient_privilege then
        raise notice 'the role totesys_reporting is left to an administrator';
end
$$;

do $$
begin
    execute format('grant usage on schema %I to totesys_reporting', current_schema());
    grant select on
        dim_date,
        dim_staff,
        dim_location,
        dim_currency,
        dim_design,
        dim_counterparty,
        dim_payment_type,
        dim_transaction,
        fact_sales_order,
        fact_purchase_order,
        fact_payment,
        current_sales_order,
        current_purchase_order,
        current_payment,
        pipeline_run
    to totesys_reporting;
    -- What later migrations add to the star schema; what is not to be read, they revoke.
    execute format(
        'alter default privileges in schema %I grant select on tables to totesys_reporting',
        current_schema()
    );
exception
    when undefined_object then
        raise notice 'nothing is granted: there is no role totesys_reporting';
    when insufficient_privilege then
        raise notice 'the rights of totesys_reporting are left to an administrator';
end
$$;
