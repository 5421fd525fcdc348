"""What compose.yaml gives to the processes of the house: what their commands read, and no more."""

from typing import Any

import pytest
import yaml

from tests.integration.databases import ROOT
from tests.needs import NAMED, needed

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
OURS = ["python", "-m", "streams.cli"]
PROCESSES = {
    name: service
    for name, service in COMPOSE["services"].items()
    if (service.get("command") or [])[:3] == OURS
}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_is_given_what_its_command_reads_and_nothing_else(name: str):
    service = PROCESSES[name]
    given = {each.removeprefix("ORDERFLOW_").lower() for each in service["environment"]}

    # Every command refuses to start without it.
    assert given & NAMED == needed(tuple(service["command"][3:])) | {"kafka"}


@pytest.mark.parametrize("name", PROCESSES)
def test_a_file_or_folder_that_a_process_is_told_of_is_there(name: str):
    service = PROCESSES[name]
    mounted = {each.removesuffix(":ro").rpartition(":")[2] for each in service.get("volumes", ())}
    said = [
        service["environment"].get(f"ORDERFLOW_{each}") for each in ("SHOPS_FILE", "IMPORT_FOLDER")
    ]

    for path in filter(None, said):
        # `${…:+/run/secrets/shops.toml}`: where a file is named at all.
        assert path.removesuffix("}").rpartition(":+")[2] in mounted
