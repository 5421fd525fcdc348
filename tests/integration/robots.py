"""Chat robots over HTTP, a tap on PostgreSQL that can be closed, and the process of alerts."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aiohttp import web

from tests.integration.databases import ROOT, Database

#: Waits end when their condition is met; a loaded machine may take this long.
WITHIN_S = 90.0


class Post(NamedTuple):
    """One message as a robot got it."""

    at: float
    text: str


class Robot:
    """A WeCom robot: takes messages, and says what a test wants it to say."""

    def __init__(self) -> None:
        self.posts: list[Post] = []
        #: Refused in this way, one after the other; then taken.
        self.answers: list[web.Response] = []
        self.url = ""

    async def heard(self, request: web.Request) -> web.Response:
        said = await request.json()
        if self.answers:
            return self.answers.pop(0)
        self.posts.append(Post(time.time(), said["markdown"]["content"]))
        return web.json_response({"errcode": 0, "errmsg": "ok"})

    @property
    def text(self) -> str:
        return "\n".join(post.text for post in self.posts)

    def lines(self, word: str) -> list[str]:
        return [line for line in self.text.splitlines() if word in line]


@asynccontextmanager
async def robots(*named: str) -> AsyncIterator[dict[str, Robot]]:
    """Robots at loopback addresses whose keys are secrets."""
    made = {name: Robot() for name in named}
    app = web.Application()
    for name, robot in made.items():
        app.router.add_post(f"/{name}", robot.heard)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    for name, robot in made.items():
        robot.url = f"http://127.0.0.1:{port}/{name}?key=HUSH-{name}"
    try:
        yield made
    finally:
        await runner.cleanup()


def alerts_file(folder: Path, made: dict[str, Robot], more: str = "") -> Path:
    file = folder / "alerts.toml"
    file.touch(0o600)
    file.write_text(
        "".join(
            f'[[channels]]\nname = "{name}"\nkind = "wecom"\nurl = "{robot.url}"\n'
            for name, robot in made.items()
        )
        + more
    )
    return file


class Running:
    """A process `orderflow alerts run`."""

    def __init__(self, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.process, self._log = process, log

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def until_logged(self, word: str) -> None:
        await until(lambda: word in self.log, lambda: self.log)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def environment(there: Database, file: Path, **more: str) -> dict[str, str]:
    kafka = os.environ.get("ORDERFLOW_KAFKA") or next(
        line.partition("=")[2]
        for line in (ROOT / ".local" / "stack.env").read_text().splitlines()
        if line.startswith("ORDERFLOW_KAFKA=")
    )
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")},
        "ORDERFLOW_KAFKA": kafka,
        "ORDERFLOW_TOPIC_PREFIX": "nobody-",
        "ORDERFLOW_POSTGRES_LEDGER": there.ledger,
        "ORDERFLOW_POSTGRES_OPERATIONS": there.operations,
        "ORDERFLOW_POSTGRES_READER": there.reader,
        "ORDERFLOW_ALERTS_FILE": str(file),
        **more,
    }


@contextmanager
def alerts(there: Database, file: Path, name: str = "a", **more: str) -> Iterator[Running]:
    """Run it; it has ended afterwards."""
    log = file.parent / f"alerts-{name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "streams.cli", "alerts", "run"],
            env=environment(there, file, **more), cwd=ROOT, stdout=said, stderr=said,
        )  # fmt: skip
    running = Running(process, log)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            try:
                running.end()
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


async def command(there: Database, file: Path, *args: str, code: int = 0) -> Any:
    """Return the last line that a command of alerts says, as a value."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "streams.cli", "alerts", *args, "--json",
        env=environment(there, file), cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), WITHIN_S)
    assert process.returncode == code, (out, err)
    return json.loads(out.splitlines()[-1]) if out else err.decode()


async def until(condition: Callable[[], Any], why: Callable[[], Any] = lambda: "") -> None:
    """Return when *condition* is met."""
    end = time.monotonic() + WITHIN_S
    while True:
        met = condition()
        if asyncio.iscoroutine(met):
            met = await met
        if met:
            return
        assert time.monotonic() < end, why()
        await asyncio.sleep(0.05)


class Tap:
    """A way to PostgreSQL that can be closed and opened."""

    def __init__(self, dsn: str) -> None:
        parts = urlsplit(dsn)
        self._there = parts.hostname, parts.port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0

    def through(self, dsn: str) -> str:
        parts = urlsplit(dsn)
        return parts._replace(
            netloc=parts.netloc.replace(f":{parts.port}", f":{self.port}")
        ).geturl()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._there)
        self._open |= {writer, there_writer}
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
        self._open -= {writer, there_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
