"""The demo, small: what a newcomer types first has to end well."""

import json
import os
import subprocess
import sys

import pytest

from tests.integration.conftest import _addresses
from tests.integration.databases import ROOT

pytestmark = pytest.mark.stack


def test_the_demo_shows_the_whole_house_and_everything_holds():
    done = subprocess.run(
        [
            sys.executable, "-m", "streams.cli", "demo", "--orders", "300", "--rate", "100",
            "--no-keep", "--json",
        ],
        env={**os.environ, **_addresses()}, cwd=ROOT, capture_output=True, text=True, timeout=400,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert said["orders"] >= 300
    assert (said["ok"], said["check"]["ok"], said["at_rest"]) == (True, True, True)
    # One worker was killed on the way, and another process took its place.
    assert said["killed"]["back"] not in (None, said["killed"]["killed"])
    assert said["fed"]["acknowledged"] == said["fed"]["messages"]
    # Duplicates, refusals and what was not paid are among what is shown.
    assert said["fed"]["messages"] > said["fed"]["orders"]
    statuses = {row["status"] for row in said["by_channel_and_status"]}
    assert statuses >= {"PENDING_PAYMENT", "PAID", "SHIPPED", "CANCELLED"}
    channels = {row["platform"] for row in said["by_channel_and_status"]}
    assert channels >= {"taobao", "douyin", "shopify"}
