"""
The same job as Restate's documentation would have it: a virtual object for each SKU.

    python -m tests.bench.restate.reserve SERVER KAFKA PREFIX PARTITIONS DATADIR

SERVER is the program of the Restate server, which is started here with its data in DATADIR. It
reads the commands from Kafka itself (a subscription) and calls the handler below, one call at a
time for each SKU. The two rows are the object's state. The answer and the event are produced to
Kafka in two durable steps (`ctx.run`), started together: the job's outcome is a message that the
order reads, and a state in Restate would be none. Defaults, but for addresses: the server listens
on sockets in DATADIR only, the handlers at a free port of the loopback address; nothing is
reported to Restate's makers.

Promise: a command changes the state once, whatever crashes, since Restate writes what a call did
to its own log before it goes on. An answer or event may be sent twice: a crash between the
broker's acknowledgement and Restate's writing it down repeats the step.
"""

import asyncio
import http.client
import json
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import hypercorn
import hypercorn.asyncio
import restate

from tests.bench.ways.deciding import Fields, decide
from tests.bench.ways.parent import end_with_parent
from tests.bench.ways.sending import Sender

_BALANCE = "balance"
_NODE = "bench"
_STARTS_WITHIN_S = 60.0
_ENDS_WITHIN_S = 8.0
_CONFIG = """
node-name = "{node}"
cluster-name = "bench"
base-dir = "{datadir}"
listen-mode = "unix"
disable-telemetry = true
log-filter = "warn"
log-disable-ansi-codes = true

[admin]
disable-web-ui = true

[[ingress.kafka-clusters]]
name = "bench"
brokers = ["PLAINTEXT://{kafka}"]
"""


def stock(sender: Sender, prefix: str) -> restate.VirtualObject:
    """Return the object: its key is a SKU, its state the balance and the holds of that SKU."""
    keeper = restate.VirtualObject("Stock")

    async def send(topic: str, key: str, fields: Fields) -> None:
        await asyncio.wrap_future(sender.send(f"{prefix}{topic}", key, fields))

    @keeper.handler()
    async def command(ctx: restate.ObjectContext, asked: Fields) -> None:
        rows = await _rows(ctx, asked)
        decided = decide(rows, asked, _at_ms(ctx))
        for key, row in decided.rows:
            ctx.set(_name(asked, key), row)
        steps = []
        if (event := decided.event) is not None:
            steps.append(ctx.run_typed("event", send, _ONCE, "stock-events", event["sku"], event))
        if (said := decided.answer) is not None:
            steps.append(
                ctx.run_typed("answer", send, _ONCE, "order-commands", said["order"], said)
            )
        await restate.gather(*steps)

    return keeper


#: A step is repeated until it succeeds, which is the default.
_ONCE: restate.RunOptions[None] = restate.RunOptions()


async def _rows(ctx: restate.ObjectContext, asked: Fields) -> dict[str, Fields]:
    """Return the rows that the command is about, as far as they exist."""
    keys = [asked["sku"]]
    if order := asked.get("order"):
        keys.append(f"{asked['sku']}/{order}")
    found = [(key, await ctx.get(_name(asked, key), type_hint=dict)) for key in keys]
    return {key: row for key, row in found if row is not None}


def _name(asked: Fields, key: str) -> str:
    """Return what a row is called within its SKU's state."""
    return _BALANCE if key == asked["sku"] else key


def _at_ms(ctx: restate.ObjectContext) -> int:
    """Return when the command was appended to its topic: the server says so in a header."""
    return int(ctx.request().headers["kafka.timestamp"])


class Server:
    """The Restate server as a child of this process, spoken to by its socket."""

    def __init__(self, program: str, kafka: str, datadir: Path) -> None:
        config = datadir / "restate.toml"
        config.write_text(_CONFIG.format(node=_NODE, datadir=datadir / "data", kafka=kafka))
        self._admin = datadir / "data" / _NODE / "admin.sock"
        # It ends with this process, also where this one is killed.
        self._process = subprocess.Popen(
            [program, "--config-file", str(config), "--no-logo"],
            preexec_fn=partial(end_with_parent, signal.SIGKILL),  # noqa: PLW1509  no thread yet
        )

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the admin API, as soon as it answers; raises RuntimeError with what it refuses."""
        for _ in range(int(_STARTS_WITHIN_S * 10)):
            if self._process.poll() is not None:
                raise RuntimeError(f"the Restate server ended with {self._process.returncode}")
            try:
                status, said = await asyncio.to_thread(self._call, method, path, body)
            except OSError:
                status, said = 503, b"it does not answer yet"
            if status < 300:
                return said
            if status < 500:
                break
            await asyncio.sleep(0.1)
        raise RuntimeError(f"{method} {path}: {status} {said.decode(errors='replace')}")

    def _call(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        link = http.client.HTTPConnection("localhost", timeout=10)
        link.sock = socket.socket(socket.AF_UNIX)
        try:
            link.sock.connect(str(self._admin))
            headers = {"content-type": "application/json"}
            link.request(method, path, json.dumps(body) if body is not None else None, headers)
            found = link.getresponse()
            return found.status, found.read()
        finally:
            link.close()

    async def ended(self) -> None:
        """Return when it has ended."""
        await asyncio.to_thread(self._process.wait)

    def stop(self) -> None:
        """End it, in good order if it does so soon."""
        self._process.terminate()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


async def run(program: str, kafka: str, prefix: str, datadir: Path) -> None:
    """Serve the handler and connect it with the topic, until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    sender = Sender(kafka)
    listening = socket.create_server(("127.0.0.1", 0))
    config = hypercorn.Config()
    config.bind = [f"fd://{listening.fileno()}"]
    # As Restate's documentation has it for production, but in one process.
    config.h2_max_concurrent_streams = 2147483647
    config.keep_alive_max_requests = 2147483647
    config.keep_alive_timeout = 2147483647
    app = restate.app([stock(sender, prefix)])
    serving = asyncio.create_task(
        hypercorn.asyncio.serve(app, config, shutdown_trigger=stopped.wait)  # type: ignore[arg-type]
    )
    server = Server(program, kafka, datadir)
    try:
        port = listening.getsockname()[1]
        await server.call("POST", "/deployments", {"uri": f"http://127.0.0.1:{port}"})
        await server.call("POST", "/subscriptions", _subscription(prefix))
        await asyncio.wait(
            [serving, asyncio.create_task(server.ended())], return_when=asyncio.FIRST_COMPLETED
        )
        if not stopped.is_set():
            raise RuntimeError("the Restate server or the handlers ended")
    finally:
        stopped.set()
        await asyncio.to_thread(server.stop)
        sender.close()


def _subscription(prefix: str) -> dict[str, Any]:
    return {
        "source": f"kafka://bench/{prefix}stock-commands",
        "sink": "service://Stock/command",
        "options": {"auto.offset.reset": "earliest", "group.id": f"{prefix}restate"},
    }


def main() -> None:
    """Run until SIGTERM."""
    program, kafka, prefix, _, datadir = sys.argv[1:]
    end_with_parent(signal.SIGTERM)
    asyncio.run(run(program, kafka, prefix, Path(datadir)))


if __name__ == "__main__":
    main()
