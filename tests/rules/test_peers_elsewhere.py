"""Peers from other worlds: what is installed for them is pinned, and nothing says from where."""

import json
import re
from xml.etree import ElementTree as ET

from tests.bench.peer import ROOT

HERE = ROOT / "tests" / "bench"
POM = "{http://maven.apache.org/POM/4.0.0}"


def project(pom: str) -> ET.Element:
    return ET.parse(ROOT / pom).getroot()  # noqa: S314  our own file


def kafka_version(pom: str) -> str | None:
    return project(pom).findtext(f"{POM}properties/{POM}kafka.version")


def test_kafka_streams_is_of_the_same_version_as_the_broker():
    assert kafka_version("tests/bench/kafka_streams/pom.xml") == kafka_version(
        "deploy/kafka/pom.xml"
    )


def test_every_jar_and_plugin_of_the_pom_has_one_version():
    root = project("tests/bench/kafka_streams/pom.xml")
    versions = [
        each.findtext(f"{POM}version") or ""
        for kind in ("dependency", "plugin")
        for each in root.iter(f"{POM}{kind}")
    ]

    assert len(versions) >= 6
    for version in versions:
        assert version == "${kafka.version}" or re.fullmatch(r"\d+(\.\d+)+", version), version


def test_the_package_from_npm_has_one_version_and_no_address():
    text = (HERE / "restate" / "package.json").read_text()

    for version in json.loads(text)["dependencies"].values():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version), version
    assert "://" not in text
    assert not list((HERE / "restate").glob("*lock*"))
