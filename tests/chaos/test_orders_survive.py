"""
The short chaos of every run: the whole chain under load, broken by a seeded plan, exact to a unit.

Two workers for each keeper. `kill -9` of workers, a worker stopped for longer than its session and
woken up, and a `kill -9` of the broker. Then an independent checker reads topics, changelogs and
PostgreSQL; and a subscriber that was killed as often has heard every event once. Replay a run with
`ORDERFLOW_TEST_SEED=<seed> make test ARGS="-k survive"`.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.foreign import judge, subscribed, told
from tests.installation import Installation, Workers, installation
from tests.integration.databases import ROOT

pytestmark = [pytest.mark.stack, pytest.mark.chaos, pytest.mark.alone]

ORDERS = 4_000
RATE = 200
#: Longer than the session timeout of an installation under test (6 s).
STOPPED_S = 9
PLAN = ("kill", "stop", "broker", "kill")


def _broker(what: str) -> None:
    subprocess.run([sys.executable, "deploy/stack.py", what, "kafka"], cwd=ROOT, check=True)


def _break(what: str, workers: Workers, seed: random.Random) -> None:
    pid = seed.choice(workers.pids())
    match what:
        case "kill":
            os.kill(pid, signal.SIGKILL)
        case "stop":
            os.kill(pid, signal.SIGSTOP)
            time.sleep(STOPPED_S)
            os.kill(pid, signal.SIGCONT)
        case "broker":
            _broker("kill")
            time.sleep(2)
            _broker("start")


def _feeding(house: Installation, seed: int, log: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [
            sys.executable, "-m", "streams.cli", "feed", "--generate", str(ORDERS),
            "--rate", str(RATE), "--seed", str(seed), "--duplicates", "5%", "--reorder", "5%",
            "--cancel", "10%", "--late-payments", "5%", "--edited", "20%", "--parcels", "50%",
            "--receive", "--log", str(log), "--json",
        ],
        env=house.env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )  # fmt: skip


async def test_orders_survive_kills_stops_and_a_broker_crash(tmp_path: Path) -> None:
    """T48, T51: nothing is lost or done twice, and each order's events stay in their order."""
    seed = int(os.environ.get("ORDERFLOW_TEST_SEED") or random.randrange(1 << 30))
    print(f"seed {seed}, plan {', '.join(PLAN)}")
    dice = random.Random(seed)
    log = tmp_path / "feed.jsonl"
    async with installation(tmp_path) as house:
        with ExitStack() as started:
            keepers = [
                started.enter_context(house.running(roles, slots=slots))
                for roles, slots in (("orders,stock", 2), ("intake,ledger", 1))
            ]
            topic = house.settings.topic("order-events")
            subscriber = started.enter_context(subscribed(house.settings.kafka, topic, tmp_path))
            feed = _feeding(house, seed, log)
            for what in PLAN:
                await asyncio.sleep(3 + 2 * dice.random())
                _break(what, dice.choices(keepers, weights=(3, 1))[0], dice)
                subscriber.kill()
            fed = json.loads((feed.communicate(timeout=180)[0]).splitlines()[-1])
            assert feed.returncode == 0, fed

            verdict = house.at_rest("--feed-log", str(log), within_s=120)
            # The subscriber of docs/subscribing.md, killed as often: no event is lost on it, none
            # has its effect twice.
            judge(subscriber, told(house.settings.kafka, topic), within_s=120)

    assert verdict["ok"], f"seed {seed}: {json.dumps(verdict, indent=1)[:4000]}"
    assert fed["orders"] == ORDERS
