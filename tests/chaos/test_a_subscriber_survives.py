"""
The subscriber of docs/subscribing.md, killed as often as the workers it hears: each event once.

The keepers are killed under load, so that events stand on the topic twice; the subscriber is killed
at the same time, so that it reads some of them again. What it has done at the end is compared with
everything that stands on the topic, read by a client of its own.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.foreign import judge, subscribed, told
from tests.installation import Installation, installation
from tests.integration.databases import ROOT

pytestmark = [pytest.mark.stack, pytest.mark.chaos]

ORDERS, RATE, KILLS = 600, 100, 3


def _feeding(house: Installation, seed: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [
            sys.executable, "-m", "streams.cli", "feed", "--generate", str(ORDERS),
            "--rate", str(RATE), "--seed", str(seed), "--receive", "--cancel", "10%",
            "--duplicates", "5%", "--edited", "20%",
        ],
        env=house.env,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


async def test_a_subscriber_has_every_event_once_whoever_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("ORDERFLOW_TEST_SEED") or random.randrange(1 << 30))
    print(f"seed {seed}")
    dice = random.Random(seed)
    async with installation(tmp_path) as house:
        topic = house.settings.topic("order-events")
        with ExitStack() as started:
            keepers = started.enter_context(house.running("orders,stock", slots=2))
            started.enter_context(house.running("intake,ledger"))
            subscriber = started.enter_context(subscribed(house.settings.kafka, topic, tmp_path))
            feed = _feeding(house, seed)
            for _ in range(KILLS):
                await asyncio.sleep(0.5 + 1.5 * dice.random())
                os.kill(dice.choice(keepers.pids()), signal.SIGKILL)
                subscriber.kill()
            assert feed.wait(180) == 0
            verdict = house.at_rest()

            judge(subscriber, told(house.settings.kafka, topic), within_s=120)

        assert verdict["ok"], f"seed {seed}: {json.dumps(verdict, indent=1)[:4000]}"
        assert subscriber.starts > KILLS
