"""The poller as a process of its own, its shops file, and what is on the raw topics."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams.engine.admin import apply
from streams.settings import Settings
from streams.topics import TOPICS
from tests.integration.at_the_gate import _forget, a_prefix, records, stack_settings
from tests.integration.conftest import ROOT
from tests.integration.databases import Database
from tests.platforms import webhooks
from tests.platforms.families import credentials
from tests.platforms.simulator import Platform

SHOP = "s"


@dataclass(frozen=True)
class Ground:
    """One installation without workers: topics, a database, and a shops file."""

    settings: Settings
    env: dict[str, str]
    folder: Path

    @property
    def shops(self) -> Path:
        return self.folder / "shops.toml"

    def open(self, platforms: list[Platform], **more: Mapping[str, Any]) -> None:
        """Write the shops file for *platforms*; *more* of an api is by platform."""
        lines = []
        for there in platforms:
            name = there.family.platform
            lines += ["[[shops]]", f'platform = "{name}"', f'shop = "{SHOP}"']
            lines += [f"{k} = {json.dumps(v)}" for k, v in webhooks.ENTRY.get(name, {}).items()]
            api = {**credentials(there), "calls_per_s": 500, "calls_at_once": 50}
            lines += ["[shops.api]"]
            lines += [f"{k} = {json.dumps(v)}" for k, v in {**api, **more.get(name, {})}.items()]
        self.shops.touch(0o600)
        self.shops.write_text("\n".join(lines) + "\n")

    def orderflow(self, *args: str, code: int = 0) -> str:
        """Run a command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "streams.cli", *args],
            env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        return done.stdout if code in (0, 1) else done.stderr

    async def ran(self, *args: str, code: int = 0) -> str:
        """Run a command to its end, while the platforms go on."""
        return await asyncio.to_thread(lambda: self.orderflow(*args, code=code))

    async def bodies(self, platform: str) -> list[bytes]:
        return [record.value for record in await records(self.settings, platform)]

    async def missing(self, there: Platform) -> set[str]:
        """Orders whose newest version is not on the topic, byte for byte."""
        found = set(await self.bodies(there.family.platform))
        return {key for key, body in there.latest().items() if body not in found}

    async def until_all_arrived(self, platforms: list[Platform], within_s: float = 40) -> None:
        await until(
            lambda: self._missing_of(platforms),
            within_s,
            lambda left: f"still missing {left}; {[each.outcomes for each in platforms]}",
        )

    async def _missing_of(self, platforms: list[Platform]) -> dict[str, int]:
        found = {each.family.platform: len(await self.missing(each)) for each in platforms}
        return {name: count for name, count in found.items() if count}

    @contextlib.contextmanager
    def worker(self, roles: str) -> Iterator[None]:
        """A worker of these roles, ended by SIGTERM."""
        with (self.folder / "worker.log").open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "worker", "--roles", roles],
                env=self.env | {"ORDERFLOW_HEALTH_PORT": "0"}, cwd=ROOT, stdout=said, stderr=said,
            )  # fmt: skip
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    @contextlib.contextmanager
    def polling(self, *args: str) -> Iterator["Polled"]:
        """A running poller; ended by SIGTERM unless it was killed."""
        log = self.folder / "poll.log"
        with log.open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "streams.cli", "poll", *args],
                env=self.env, cwd=ROOT, stdout=said, stderr=said,
            )  # fmt: skip
        polled = Polled(process, log, int(self.env["ORDERFLOW_HEALTH_PORT"]))
        try:
            yield polled
        finally:
            if process.poll() is None:
                polled.end()


@dataclass
class Polled:
    """A running poller."""

    process: "subprocess.Popen[bytes]"
    log: Path
    port: int

    def end(self) -> float:
        """SIGTERM; return how long it took, which must be with 0."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.log.read_text()[-3000:]
        return time.monotonic() - began

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


async def until(
    ask: Callable[[], Any], within_s: float, why: Callable[[Any], str], every_s: float = 0.3
) -> None:
    """Wait until *ask* has nothing to say any more."""
    deadline = time.monotonic() + within_s
    while left := await ask():
        assert time.monotonic() < deadline, why(left)
        await asyncio.sleep(every_s)


@asynccontextmanager
async def some_ground(database: Database, folder: Path, **env: str) -> AsyncIterator[Ground]:
    """Topics and settings of this test alone, with short waits."""
    settings = stack_settings(a_prefix())
    around = {k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")}
    ground = Ground(
        settings,
        around
        | {
            "ORDERFLOW_KAFKA": settings.kafka,
            "ORDERFLOW_TOPIC_PREFIX": settings.topic_prefix,
            "ORDERFLOW_PARTITIONS": str(settings.partitions),
            "ORDERFLOW_POSTGRES_POLLER": database.poller,
            "ORDERFLOW_POSTGRES_LEDGER": database.ledger,
            "ORDERFLOW_POSTGRES_READER": database.reader,
            "ORDERFLOW_POSTGRES_OPERATIONS": database.operations,
            "ORDERFLOW_SILENCE_EVERY": "PT0.3S",
            "ORDERFLOW_SHOPS_FILE": str(folder / "shops.toml"),
            "ORDERFLOW_HEALTH_PORT": str(_free_port()),
            "ORDERFLOW_SESSION_TIMEOUT": "PT6S",
            "ORDERFLOW_POLLING_EVERY": "PT1S",
            "ORDERFLOW_POLLING_FROM": "PT2H",
            "ORDERFLOW_POLLING_FIRST_WAIT": "PT0.02S",
            "ORDERFLOW_POLLING_CALL_WITHIN": "PT1S",
            "ORDERFLOW_POLLING_BREAKER_FOR": "PT0.5S",
        }
        | env,
        folder,
    )
    await apply(settings, TOPICS)
    try:
        yield ground
    finally:
        await _forget(settings)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
