"""The Spark settings of the Glue jobs, as the local cloud passes them to a job."""

from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from benchmarks.measure import ROOT
from local.cloud.spark_settings import settings_of, spark_settings
from local.stack import JARS


def write_defaults(folder: Path, endpoint: str, lake_bucket: str) -> None:
    """Writes spark-defaults.conf with the `--conf` that the template gives to the facts' job."""
    template: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    job = template["Resources"]["BuildFactsJob"]["Properties"]
    conf = job["DefaultArguments"]["--conf"]["Fn::Sub"].replace("${LakeBucket}", lake_bucket)
    settings = spark_settings(endpoint, JARS) | settings_of(conf)
    # The local cloud's JVM options are for small data.
    del settings["spark.driver.extraJavaOptions"]
    (folder / "spark-defaults.conf").write_text(
        "".join(f"{name} {value}\n" for name, value in settings.items())
    )
