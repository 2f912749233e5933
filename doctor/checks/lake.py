"""The Glue Data Catalog, the Iceberg tables and the lake's quarantine."""

import json
from collections.abc import Collection, Iterator

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table
from pyiceberg.table.snapshots import ancestors_of

from doctor.checks.storage import missing_objects, newest_manifest, restore
from doctor.checks.warehouse import run_with
from doctor.finding import Check, Finding, fault, judged, ok
from doctor.place import Place
from lambdas.load.lake import glue_catalog
from lambdas.publish.catalogue_names import in_catalogue
from pipeline.applied_run import DECLARED
from star_schema.quarantine import QUARANTINE
from star_schema.tables import StarTable

_FILES_SEEN = 20
_ROWS_SEEN = 1000
_QUARANTINED = "select * from {}.quarantine;   -- correct these rows at the source"


def _databases(place: Place) -> Finding:
    client = place.client("glue")
    lake = place.resource("LakeBucket")
    problems: dict[str, str] = {}
    for name in (place.load.glue_database, place.publish.raw_glue_database):
        try:
            client.get_database(Name=name)
        except client.exceptions.EntityNotFoundException:
            entry = {"Name": name}
            if name == place.load.glue_database:
                entry["LocationUri"] = f"s3://{lake}/star"
            problems[f"the Glue database {name} is gone"] = (
                f"aws glue create-database --database-input '{json.dumps(entry)}'"
            )
    return judged(problems, "both Glue databases are there")


def _tables(place: Place) -> Finding:
    newest_manifest(place)
    client = place.client("glue")
    database = place.load.glue_database
    pages = client.get_paginator("get_tables").paginate(DatabaseName=database)
    known = {table["Name"] for page in pages for table in page["TableList"]}
    problems = {
        f"the catalogue has no {database}.{star.name}": _registered(place, star.name)
        for star in place.stars
        if star.name not in known
    }
    return judged(problems, f"{database} has the {len(place.stars)} star tables")


def _registered(place: Place, table: str) -> str:
    """Returns the statement that registers a table's newest metadata, or the run that builds it."""
    bucket, prefix = place.resource("LakeBucket"), f"star/{table}/metadata/"
    pages = place.client("s3").get_paginator("list_objects_v2")
    files = [
        one
        for page in pages.paginate(Bucket=bucket, Prefix=prefix)
        for one in page.get("Contents", [])
        if one["Key"].endswith(".metadata.json")
    ]
    if not files:
        return run_with(place, '{"rebuild": true}')
    newest = max(files, key=lambda one: (one["LastModified"], one["Key"]))
    return (
        f"call glue_catalog.system.register_table('{place.load.glue_database}.{table}', "
        f"'s3://{bucket}/{newest['Key']}');   -- in Spark SQL"
    )


def _readable(place: Place) -> Finding:
    problems: dict[str, str] = {}
    newest_manifest(place)
    catalog = _catalog(place)
    for star in place.stars:
        try:
            table = catalog.load_table((place.load.glue_database, star.name))
        except NoSuchTableError:
            continue  # lake.tables says so
        except FileNotFoundError:
            address = _metadata(place, star.name)
            problems[f"{star.name} lacks {address}"] = _restore(place, address)
            continue
        for address in _lost(place, table):
            problems[f"{star.name} lacks {address}"] = _restore(place, address)
    return judged(problems, "metadata, manifests and newest files of each table are there")


def _catalog(place: Place) -> Catalog:
    return glue_catalog(place.client("s3"), place.session.get_credentials())


def _lost(place: Place, table: Table) -> Iterator[str]:
    """Yields the files of a table's current snapshot that are gone: lists first, data then."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return
    lists = [snapshot.manifest_list]
    gone = [*_gone(place, lists)]
    if not gone:
        lists = [manifest.manifest_path for manifest in snapshot.manifests(table.io)]
        gone = [*_gone(place, lists[:_FILES_SEEN])]
    if not gone:
        gone = [*_gone(place, sorted(_files(table))[:_FILES_SEEN])]
    yield from gone


def _files(table: Table) -> set[str]:
    """Returns the addresses of a table's data files, and of the delete files beside them."""
    tasks = table.scan().plan_files()
    return {file.file_path for task in tasks for file in (task.file, *task.delete_files)}


def _metadata(place: Place, name: str) -> str:
    """Returns the address of a table's metadata, as the catalogue has it."""
    entry = place.client("glue").get_table(DatabaseName=place.load.glue_database, Name=name)
    address: str = entry["Table"]["Parameters"]["metadata_location"]
    return address


def _restore(place: Place, address: str) -> str:
    return restore(place, *_bucket_and_key(address))


def _bucket_and_key(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


def _gone(place: Place, addresses: list[str]) -> Iterator[str]:
    for address in addresses:
        bucket, key = _bucket_and_key(address)
        if [*missing_objects(place, bucket, [key])]:
            yield address


def _declarations(place: Place) -> Finding:
    """Compares what gave the rows of each table with the declarations of this clone."""
    catalog = _catalog(place)
    problems: dict[str, str] = {}
    for star in place.stars:
        try:
            table = catalog.load_table((place.load.glue_database, star.name))
        except NoSuchTableError:
            continue  # lake.tables says so
        # Tables of earlier versions do not tell.
        if _declared_as(table) not in ("", star.digest):
            what = f"{star.name} has rows of another SELECT, or other rules, than {star.name}.sql"
            problems[what] = run_with(place, '{"rebuild": true}')
    return judged(problems, "each table has the rows that its declaration gives")


def _declared_as(table: Table) -> str:
    snapshot = table.current_snapshot()
    ancestors = ancestors_of(snapshot, table.metadata) if snapshot else ()
    told = (one.summary.additional_properties for one in ancestors if one.summary)
    return next((one[DECLARED] for one in told if DECLARED in one), "")


def _raw_tables(place: Place) -> Finding:
    newest = newest_manifest(place)
    client = place.client("glue")
    database = place.publish.raw_glue_database
    pages = client.get_paginator("get_tables").paginate(DatabaseName=database)
    known = {table["Name"] for page in pages for table in page["TableList"]}
    expected = in_catalogue(sorted(newest.tables), taken=["raw_quarantine"])
    gone = [name for name in expected.values() if name not in known]
    if gone:
        return fault(
            f"the catalogue has no {', '.join(f'{database}.{name}' for name in gone)}",
            run_with(place, '{"full_refresh": true}'),
        )
    return ok(f"{database} has the {len(expected)} source tables")


def _quarantine(place: Place) -> Finding:
    """Counts quarantined rows of which no later version is in their fact table."""
    database = place.load.glue_database
    catalog = _catalog(place)
    try:
        table = catalog.load_table((database, QUARANTINE))
    except NoSuchTableError:
        return ok("no row was ever quarantined")
    rows = table.scan(
        selected_fields=("star_table", "natural_key", "_sequence"), limit=_ROWS_SEEN
    ).to_arrow()
    newest: dict[str, dict[str, int]] = {}
    for row in rows.to_pylist():
        of_star = newest.setdefault(row["star_table"], {})
        key = str(row["natural_key"])
        of_star[key] = max(of_star.get(key, 0), row["_sequence"])
    problems: dict[str, str] = {}
    for star in place.stars:
        held = newest.get(star.name, {})
        settled = _newest_versions(catalog.load_table((database, star.name)), star, held)
        waiting = [key for key, run in held.items() if settled.get(key, 0) < run]
        if waiting:
            keys = ", ".join(waiting[:3])
            what = f"rows of {star.name} are quarantined: {len(waiting)}, with the keys {keys}"
            problems[what] = _QUARANTINED.format(database)
    return judged(problems, "no row is quarantined that was not corrected since")


def _newest_versions(table: Table, star: StarTable, keys: Collection[str]) -> dict[str, int]:
    """Returns the run of the newest version of some keys."""
    if not keys:
        return {}
    fields = (star.natural_key, "_sequence")
    quoted = ", ".join("'{}'".format(key.replace("'", "''")) for key in keys)
    wanted = f"{star.natural_key} in ({quoted})"
    rows = table.scan(row_filter=wanted, selected_fields=fields).to_arrow()
    found: dict[str, int] = {}
    for row in rows.to_pylist():
        key = str(row[star.natural_key])
        found[key] = max(found.get(key, 0), row["_sequence"])
    return found


CHECKS = (
    Check(
        "lake.databases", "the Glue databases of the star schema and of the raw zone", _databases
    ),
    Check("lake.tables", "the star tables' entries in the catalogue", _tables),
    Check(
        "lake.readable",
        "the Iceberg tables' metadata, manifests and data files",
        _readable,
        seconds=120,
    ),
    Check(
        "lake.declarations",
        "the SELECTs and rules that gave the rows of each star table, beside this clone's",
        _declarations,
        seconds=60,
    ),
    Check("lake.raw_tables", "the source tables' entries in the catalogue", _raw_tables),
    Check(
        "lake.quarantine",
        "quarantined source rows that were not corrected since",
        _quarantine,
        seconds=60,
    ),
)
