"""
One installation of the whole house for one test: topics and a database of its own, and its CLI.

What a test does here, a person can do at a terminal: the same commands, the same environment.
Processes are known by pid, and only those that the test started are ever signalled.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient

from streams.settings import Settings
from streams.topics import TOPICS
from tests.integration.databases import ROOT, empty_database

REFERENCE = ROOT / "deploy" / "reference.toml"
#: A supervisor has its workers within this, on a machine that others use too, s.
STARTS_WITHIN_S = 60
#: What has to happen has happened within this, or never will, s.
HAPPENS_WITHIN_S = 120


@dataclass(frozen=True)
class Installation:
    """Commands against one prefix of topics and one database."""

    settings: Settings
    env: dict[str, str]
    folder: Path

    def orderflow(self, *args: str, code: int = 0, timeout_s: float = 120) -> str:
        """Run a command to its end; fail the test unless it exits with *code*; return stdout."""
        done = subprocess.run(
            [sys.executable, "-m", "streams.cli", *args],
            env=self.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == code, (
            f"orderflow {' '.join(args)} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def answer(self, *args: str, code: int = 0) -> Any:
        """Run a command with --json and return its last line as a value."""
        return json.loads(self.orderflow(*args, "--json", code=code).strip().splitlines()[-1])

    def verdict(self, *args: str) -> dict[str, Any]:
        """Return what `orderflow check` says, whichever way it goes."""
        done = subprocess.run(
            [sys.executable, "-m", "streams.cli", "check", "--json", *args],
            env=self.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        verdict: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return verdict

    def at_rest(self, *args: str, within_s: float = 120) -> dict[str, Any]:
        """Return the first verdict that is ok, or the last one when time is up."""
        until = time.monotonic() + within_s
        while True:
            verdict = self.verdict(*args)
            if verdict["ok"] or time.monotonic() > until:
                return verdict
            time.sleep(1)

    @contextmanager
    def running(self, roles: str, slots: int = 1, **env: str) -> Iterator["Workers"]:
        """Supervised workers, stopped by SIGTERM at the end."""
        log = (self.folder / f"{roles.replace(',', '-')}.log").open("ab")
        process = subprocess.Popen(
            [
                sys.executable, "-m", "streams.cli", "worker",
                "--roles", roles, "--slots", str(slots),
            ],
            env=self.env | env,
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            yield Workers(process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()


@dataclass(frozen=True)
class Workers:
    """A supervisor and the processes it keeps."""

    supervisor: "subprocess.Popen[bytes]"

    def pids(self) -> list[int]:
        """Return the workers' pids once there are any; they change with every restart."""
        pid, until = self.supervisor.pid, time.monotonic() + STARTS_WITHIN_S
        while True:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if children or time.monotonic() > until:
                return [int(child) for child in children]
            time.sleep(0.1)


async def until(ask: Callable[[], Awaitable[bool]]) -> None:
    """Return once *ask* says yes; a loaded machine has time."""
    async with asyncio.timeout(HAPPENS_WITHIN_S):
        while not await ask():  # noqa: ASYNC110  the broker and the database tell nobody
            await asyncio.sleep(0.1)


@asynccontextmanager
async def installation(folder: Path) -> AsyncIterator[Installation]:
    """Topics, database, reference data: everything but workers and orders."""
    prefix = f"t{secrets.token_hex(4)}-"
    async with empty_database() as database:
        addresses = {
            "ORDERFLOW_KAFKA": _kafka(),
            "ORDERFLOW_POSTGRES_OWNER": database.owner,
            "ORDERFLOW_POSTGRES_LEDGER": database.ledger,
            "ORDERFLOW_POSTGRES_READER": database.reader,
            "ORDERFLOW_POSTGRES_OPERATIONS": database.operations,
            "ORDERFLOW_POSTGRES_CALLBACKS": database.callbacks,
            "ORDERFLOW_POSTGRES_POLLER": database.poller,
            "ORDERFLOW_POSTGRES_CONSOLE": database.console,
            "ORDERFLOW_TOPIC_PREFIX": prefix,
            "ORDERFLOW_PARTITIONS": "4",
            "ORDERFLOW_SESSION_TIMEOUT": "PT6S",
            "ORDERFLOW_HEARTBEAT_INTERVAL": "PT1S",
            "ORDERFLOW_SNAPSHOTS": str(folder / "snapshots"),
            "ORDERFLOW_SNAPSHOT_EVERY": "PT2S",
            # Workers that were started a moment ago, on a machine that others use too.
            "ORDERFLOW_ANSWER_WITHIN": "PT60S",
        }
        env = {k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")} | addresses
        settings = Settings(kafka=addresses["ORDERFLOW_KAFKA"], topic_prefix=prefix, partitions=4)
        house = Installation(settings, env, folder)
        house.orderflow("topics", "apply")
        house.orderflow("migrate")
        house.orderflow("reference", "apply", str(REFERENCE))
        try:
            yield house
        finally:
            await _remove_topics(settings)


def _kafka() -> str:
    if found := os.environ.get("ORDERFLOW_KAFKA"):
        return found
    for line in (ROOT / ".local" / "stack.env").read_text(encoding="utf-8").splitlines():
        if line.startswith("ORDERFLOW_KAFKA="):
            return line.partition("=")[2]
    raise AssertionError("The stack is not there: `make up`.")


async def _remove_topics(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka)
    await admin.start()
    try:
        await admin.delete_topics([settings.topic(topic.name) for topic in TOPICS])
    finally:
        await admin.close()
