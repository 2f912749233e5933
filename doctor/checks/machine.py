"""This machine: what the local commands need."""

import re
import shlex
import shutil
import socket
from importlib import metadata

from packaging.requirements import Requirement

from doctor.finding import Check, Finding, fault, not_applicable, ok
from doctor.place import Place
from local.deployment import ROOT
from local.postgres import HOST
from local.prerequisites import java_missing, python_missing, unusable
from local.stack import JARS, STATE

_LEAST_BYTES = 3 * 1024**3
_PIN = re.compile(r"^([A-Za-z0-9][^\\]+==[^\\]+)", re.MULTILINE)


def _folder(_place: Place) -> Finding:
    reason = unusable(str(ROOT))
    return fault(reason, "mv … …   # to a path without it") if reason else ok(str(ROOT))


def _python(_place: Place) -> Finding:
    reason = python_missing()
    return fault(reason, "make setup PYTHON=python3.13") if reason else ok("it is new enough")


def _java(place: Place) -> Finding:
    if not place.is_local:
        return not_applicable("AWS Glue has its own Java")
    reason = java_missing()
    if reason:
        return fault(reason, "export JAVA_HOME=…   # of Java 17 or 21")
    return ok("Spark runs on it")


def _packages(_place: Place) -> Finding:
    wrong: list[str] = []
    for line in _PIN.findall((ROOT / "requirements" / "dev.txt").read_text()):
        pin = Requirement(line)
        if pin.marker and not pin.marker.evaluate():
            continue
        try:
            installed = metadata.version(pin.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{pin.name} is missing")
            continue
        if not pin.specifier.contains(installed, prereleases=True):
            wrong.append(f"{pin.name} is {installed}, not{str(pin.specifier).replace('==', ' ')}")
    if wrong:
        return fault(f".venv is not as pinned: {', '.join(wrong[:5])}", "make setup")
    return ok(".venv is as requirements/dev.txt pins it")


def _jars(place: Place) -> Finding:
    if not place.is_local:
        return not_applicable("AWS Glue has its own jars")
    if not JARS.exists():
        return fault(f"Spark's jars are not in {JARS}", "make run")
    return ok("Spark's jars are fetched")


def _disk(place: Place) -> Finding:
    if not place.is_local:
        return not_applicable("nothing is kept on this machine")
    folder = STATE if STATE.exists() else ROOT
    free = shutil.disk_usage(folder).free
    if free < _LEAST_BYTES:
        return fault(
            f"{folder} has {free / 1024**3:.1f} GiB free, and a run needs up to 3",
            "make clean   # deletes the local stack's state",
        )
    return ok(f"{free / 1024**3:.0f} GiB are free")


def _ports(place: Place) -> Finding:
    if place.local is None:
        return not_applicable("no port of this machine is used")
    cloud = place.local.cloud
    if not cloud.port_file.exists():
        return ok("the local cloud takes any free port")
    if cloud.is_running():
        return ok("the local cloud has its port")
    port = int(cloud.port_file.read_text())
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return fault(
                f"the local cloud's port {port} cannot be used ({error.strerror})",
                f"rm {shlex.quote(str(cloud.port_file))}   # it then takes another one",
            )
    return ok(f"port {port} is free for the local cloud")


CHECKS = (
    Check("machine.folder", "the path of this folder", _folder),
    Check("machine.python", "the version of Python", _python),
    Check("machine.java", "Java 17 or 21", _java),
    Check("machine.packages", "the packages of .venv", _packages),
    Check("machine.jars", "the jars of Iceberg and S3A", _jars),
    Check("machine.disk", "free disk space", _disk),
    Check("machine.ports", "the local cloud's port", _ports),
)
