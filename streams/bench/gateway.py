"""
`bench gateway`: how long a webhook's acknowledgement takes, and what it costs.

Signed Shopify orders are pushed by another process at a steady rate, each over whichever of its
connections is free; latency counts from when a push was due. Ours answers after the broker has the
record; a bare Starlette handler on the same server, which only answers, shows what the rest costs.
The runs are interleaved and the median counts. Nothing is a figure until every push was answered
with 200 and read back from the topic.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection
from statistics import median
from typing import Any

import orjson

from streams.bench.broker import Broker, NotAnswered, broker, environment, installation
from streams.bench.processes import Child, machine
from streams.bench.pusher import PLATFORM, SECRET, SHOP, WARM_S
from streams.gateway.door import platforms
from streams.processes import cpu_s, listener
from streams.readiness import free_ports
from streams.settings import Settings
from streams.topics import RAW, raw

_STARTS_WITHIN_S = 30.0
_POLL_S = 0.05
_US = 1_000_000
Progress = Callable[[str], None]

_SHOPS = f"""
[[shops]]
platform = "{PLATFORM}"
shop = "{SHOP}"
secrets = ["{SECRET}"]
"""


@dataclass(frozen=True, kw_only=True)
class Job:
    """How much of it."""

    rate: int = 2_000
    seconds: float = 15.0
    runs: int = 3
    connections: int = 64
    partitions: int = 12


async def measure(
    settings: Settings, job: Job, progress: Progress = lambda _: None
) -> dict[str, Any]:
    """Return the figures of *job*. Raises NotAnswered, ProcessEnded, Misconfigured, Unavailable."""
    its = installation(settings, "gateway").model_copy(update={"partitions": job.partitions})
    needed = [topic for topic in RAW if topic.name in {raw(name) for name in platforms()}]
    local = listener(settings.kafka.split(",")[0])
    ours, bare = [], []
    async with broker(its, needed) as connected:
        for nth in range(1, job.runs + 1):
            progress(f"run {nth} of {job.runs}: orderflow")
            ours.append(await _ours(its, job, connected, local))
            progress(f"run {nth} of {job.runs}: bare Starlette")
            bare.append(_bare(job, local))
    return {
        "rate": job.rate,
        "runs": job.runs,
        "pushes": int(job.rate * (WARM_S + job.seconds)),
        **_medians(ours, ""),
        **_medians(bare, "_bare"),
        "machine": machine(local),
    }


async def _ours(its: Settings, job: Job, connected: Broker, local: int | None) -> Mapping[str, Any]:
    before = await connected.ends(raw(PLATFORM))
    with tempfile.TemporaryDirectory() as folder:
        shops = Path(folder) / "shops.toml"
        shops.touch(0o600)
        shops.write_text(_SHOPS)
        port = free_ports(1)[0]
        argv = (sys.executable, "-m", "streams.cli", "gateway", "--port", str(port))
        env = {**environment(its), "ORDERFLOW_SHOPS_FILE": str(shops)}
        with Child("the gateway", argv, env) as serving:
            figures = _pushed(serving, port, job, local)
    stored = await connected.grown(before)
    if stored != figures["answered"]:
        raise NotAnswered(f"{figures['answered']} pushes were answered, {stored} are on the topic")
    return figures


def _bare(job: Job, local: int | None) -> Mapping[str, Any]:
    port = free_ports(1)[0]
    argv = (sys.executable, "-m", "streams.bench.bare_starlette", str(port))
    with Child("bare Starlette", argv, {}) as serving:
        return _pushed(serving, port, job, local)


def _pushed(serving: Child, port: int, job: Job, local: int | None) -> dict[str, Any]:
    count = int(job.rate * (WARM_S + job.seconds))
    _until_listening(serving, port)
    with tempfile.TemporaryDirectory() as folder:
        begin = Path(folder) / "begin"
        arguments = (str(port), str(job.rate), str(count), str(job.connections), str(begin))
        argv = (sys.executable, "-m", "streams.bench.pusher", *arguments)
        with Child("the pusher", argv, {}) as pushing:
            while pushing.last_words() != "made":
                pushing.check()
                time.sleep(_POLL_S)
            pids = {"server": serving.pid, "broker": local}
            before = {name: pid and cpu_s(pid) for name, pid in pids.items()}
            begin.touch()
            pushing.wait()
            after = {name: pid and cpu_s(pid) for name, pid in pids.items()}
            figures = orjson.loads(pushing.last_words().rpartition("\n")[2])
    if figures["ok"] != count:
        raise NotAnswered(f"{figures['ok']} of {count} pushes were answered with 200")
    for name in pids:
        was, now = before[name], after[name]
        figures[f"{name}_cpu_us"] = (
            None if was is None or now is None else (now - was) / count * _US
        )
    return dict(figures)


def _until_listening(serving: Child, port: int) -> None:
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while True:
        serving.check()
        try:
            create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise NotAnswered(f"{serving.name} does not listen") from None
            time.sleep(_POLL_S)


def _medians(runs: Sequence[Mapping[str, Any]], suffix: str) -> dict[str, Any]:
    names = ("p50_ms", "p99_ms", "max_ms", "server_cpu_us", "broker_cpu_us")
    return {
        f"{name}{suffix}": None
        if any(run[name] is None for run in runs)
        else median(run[name] for run in runs)
        for name in names
    }
