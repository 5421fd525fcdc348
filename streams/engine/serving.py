"""
One Faust app per role, all of a process in one event loop; started, watched, ended.

Promise: a failure ends the process at once with its cause in the log, and the supervisor starts
it again; nothing half-alive goes on. SIGTERM ends the running rounds, leaves the groups, and is
done within its time, whether or not Kafka answers.
"""

import asyncio
import ctypes
import gc
import logging
import os
import signal
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import faust
from mode.supervisors import CrashingSupervisor

from schemas.errors import Misconfigured, Unavailable
from streams import tracing
from streams.engine.admin import verify
from streams.engine.app import App
from streams.engine.health import health
from streams.engine.keeper import Keeper
from streams.engine.metrics import Metrics
from streams.engine.partitions import partitioner
from streams.engine.rounds import Role
from streams.engine.store import KeeperTable
from streams.engine.topic_ids import topic_ids
from streams.engine.transport import Transport
from streams.settings import Settings
from streams.topics import BATCH_BYTES_MAX, TOPICS, Topic
from streams.web.health import served

logger = logging.getLogger(__name__)

#: The process contradicts its installation; starting it again changes nothing (EX_CONFIG).
EXIT_MISCONFIGURED = 78
#: A part of the world was away at the start; start it again later (EX_TEMPFAIL).
EXIT_UNAVAILABLE = 75
#: Something failed; start it again (EX_SOFTWARE).
EXIT_CRASHED = 70

#: A poll interval nobody reaches: an idle spare worker must not be thrown out of its group.
_NEVER_S = 1_000_000
_RAW = {
    "key_type": bytes,
    "value_type": bytes,
    "key_serializer": "raw",
    "value_serializer": "raw",
    # The position is ours; Faust would take the jumps between frames for gaps.
    "acks": False,
}

#: glibc's M_ARENA_MAX, M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_THRESHOLD (malloc.h): one arena for
#: all threads, 256 MiB kept, grown by 16 MiB, and nothing below 32 MiB (its most) mapped apart.
_MALLOC = ((-8, 1), (-1, 256 << 20), (-2, 16 << 20), (-3, 32 << 20))


def create_app(
    settings: Settings,
    role: Role,
    counts: Mapping[str, int],
    ids: Mapping[str, bytes],
    metrics: Metrics,
    failed: "asyncio.Future[BaseException]",
) -> App:
    """Return the Faust app of *role*; everything is given here, nothing by the environment."""
    member = settings.slot or uuid.uuid4().hex
    app = App(
        settings.group_prefix + role.name,
        broker=[f"kafka://{address}" for address in settings.kafka.split(",")],
        # Left to itself Faust reads some eighty variables, and they beat what stands here.
        env={},
        autodiscover=False,
        store="memory://",
        web_enabled=False,
        # The assignor tells members apart by it, and a static member must keep it.
        canonical_url=f"http://{member}.{role.name}.{socket.gethostname()}:1",
        consumer_group_instance_id=f"{role.name}-{settings.slot}" if settings.slot else None,
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.partitions,
        Table=KeeperTable,
        agent_supervisor=CrashingSupervisor,
        # A standby would read every changelog a second time, for rows it may not serve.
        table_standby_replicas=0,
        stream_wait_empty=False,
        stream_recovery_delay=0,
        # A changelog that is shorter than we know halts its partition; here it would end all.
        recovery_consistency_check=False,
        broker_max_poll_records=settings.poll_records_max,
        broker_max_poll_interval=_NEVER_S,
        broker_session_timeout=settings.session_timeout.total_seconds(),
        broker_heartbeat_interval=settings.heartbeat_interval.total_seconds(),
        broker_rebalance_timeout=settings.request_timeout.total_seconds(),
        broker_request_timeout=settings.request_timeout.total_seconds(),
        broker_check_crcs=True,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 * BATCH_BYTES_MAX,
        producer_acks=-1,
        producer_linger_ms=0,
        producer_max_batch_size=BATCH_BYTES_MAX,
        producer_max_request_size=4 * BATCH_BYTES_MAX,
        producer_request_timeout=settings.request_timeout.total_seconds(),
    )
    app.transport = Transport(app.conf.broker_consumer, app)
    app.role, app.metrics, app.failed = role, metrics, failed
    app.counts, app.topic_ids, app.partition_of = counts, ids, partitioner(counts)
    app.poll_pause = settings.poll_pause.total_seconds()
    role.bind(app, settings)
    role.check(counts)
    _wire(app, settings, role)
    return app


def _wire(app: App, settings: Settings, role: Role) -> None:
    """Make Faust's table and agent for *role*."""
    if isinstance(role, Keeper):
        table = app.Table(
            role.name,
            partitions=app.counts[role.changelog],
            changelog_topic=app.topic(settings.topic(role.changelog), internal=True, **_RAW),
            schema=faust.Schema(**{k: v for k, v in _RAW.items() if k != "acks"}),
            # Two frames, not a thousand: a frame is thousands of records.
            recovery_buffer_size=2,
        )
        role.store = table.data
        role.store.snapshots = role.snapshots
    rounds = role.rounds

    async def listen(stream: Any) -> None:
        async for event in stream.noack().events():
            rounds.put(event.message.generation_id, event.message.offset, event.value)

    inboxes = [settings.topic(name) for name in role.topics]
    app.agent(app.topic(*inboxes, **_RAW), name=f"{role.name}-listener", concurrency=1)(listen)


async def run(
    settings: Settings,
    roles: Sequence[Role],
    *,
    topics: Sequence[Topic] = TOPICS,
    stop: asyncio.Event | None = None,
) -> int:
    """
    Run *roles* until SIGTERM, or *stop*; return the exit code.

    Raises Misconfigured or Unavailable before anything is started. After any other code than 0
    parts may still be running: the caller ends the process.
    """
    stopping = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    if stop is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
    names = {name for role in roles for name in (*role.topics, *role.writes_to)}
    counts = await verify(settings, names, topics)
    ids = await topic_ids(settings, names) if settings.snapshots else {}
    failed: asyncio.Future[BaseException] = loop.create_future()
    metrics = Metrics()
    apps = [create_app(settings, role, counts, ids, metrics, failed) for role in roles]
    async with served(settings, health(metrics, roles)):
        return await _run(settings, apps, roles, failed, stopping)


async def _run(
    settings: Settings,
    apps: Sequence[App],
    roles: Sequence[Role],
    failed: "asyncio.Future[BaseException]",
    stopping: asyncio.Event,
) -> int:
    starting = asyncio.ensure_future(_start(apps, roles))
    ended = asyncio.ensure_future(stopping.wait())
    crashed = [asyncio.ensure_future(app.wait_until_stopped()) for app in apps]
    await asyncio.wait(
        [failed, ended, *crashed, _failure_of(starting)], return_when=asyncio.FIRST_COMPLETED
    )
    if ended.done() and not failed.done():
        return await _drain(settings, apps, roles)
    error = _cause(failed, starting, apps)
    logger.critical("the process ends: %r", error, exc_info=error)
    return EXIT_MISCONFIGURED if isinstance(error, Misconfigured) else EXIT_CRASHED


async def _start(apps: Sequence[App], roles: Sequence[Role]) -> None:
    loop = asyncio.get_running_loop()
    for app, role in zip(apps, roles, strict=True):
        app.loop = loop
        task = role.rounds.task = loop.create_task(role.rounds.run())
        task.add_done_callback(app.watch)
    await asyncio.gather(*(app.start() for app in apps))


def _failure_of(task: "asyncio.Future[Any]") -> "asyncio.Future[Any]":
    """Return a future that is done only if *task* fails."""
    failure: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def look(done: "asyncio.Future[Any]") -> None:
        if not failure.done() and not done.cancelled() and done.exception() is not None:
            failure.set_result(None)

    task.add_done_callback(look)
    return failure


def _cause(
    failed: "asyncio.Future[BaseException]", starting: "asyncio.Future[None]", apps: Sequence[App]
) -> BaseException:
    if failed.done():
        return failed.result()
    if starting.done() and (error := starting.exception()) is not None:
        return error
    reasons = [app.crash_reason for app in apps if app.crash_reason]
    return reasons[0] if reasons else RuntimeError("Faust stopped by itself")


async def _drain(settings: Settings, apps: Sequence[App], roles: Sequence[Role]) -> int:
    """End the running rounds, leave the groups. What is not done in time is left to replay."""
    deadline = time.monotonic() + settings.drain_for.total_seconds()
    await asyncio.gather(*(role.rounds.stop(settings.drain_for.total_seconds()) for role in roles))
    for role in roles:
        role.close()
    left = max(0.5, deadline - time.monotonic())
    leaving = asyncio.gather(*(_leave(app) for app in apps), return_exceptions=True)
    try:
        for error in await asyncio.wait_for(leaving, left):
            if error is not None:
                logger.warning("leaving a group failed: %r", error)
    except TimeoutError:
        logger.warning(
            "leaving the groups took longer than %.1f s; it is left to the session", left
        )
    return 0


async def _leave(app: App) -> None:
    await app.role.closed()
    await app.stop()


def serve(settings: Settings, roles: Sequence[Role], topics: Sequence[Topic] = TOPICS) -> NoReturn:
    """Run *roles* as this process; never returns. Threads and half-stopped services end with it."""

    async def main() -> NoReturn:
        try:
            code = await run(settings, roles, topics=topics)
        except Misconfigured as error:
            logger.critical("%s", error)
            code = EXIT_MISCONFIGURED
        except Unavailable as error:
            logger.critical("%s", error)
            code = EXIT_UNAVAILABLE
        except Exception:
            logger.critical("the process ends", exc_info=True)
            code = EXIT_CRASHED
        if tracer := tracing.of(settings):
            tracer.flush()
        logging.shutdown()
        os._exit(code)

    _calm_collector()
    _keep_memory()
    asyncio.run(main())
    raise AssertionError("os._exit does not return")


def _calm_collector() -> None:
    """
    Let the cycle collector look at what is new, and less often.

    What a round makes dies by its reference counts. At the default pace the collector walks
    the tuples of every round some fifty times, an eighth of a busy keeper's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _keep_memory() -> None:
    """
    Let the C library keep what a round gives back, for the next one.

    A round's batches are megabytes, which glibc returns to the system at once and asks for again,
    as pages that the kernel has to clear: a tenth of a busy keeper's CPU. Another C library is
    left as it is.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option, value in _MALLOC:
            libc.mallopt(option, value)
