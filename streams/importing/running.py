"""
A job, from its file to its receipt, from wherever it stands.

    received ─ read, forecast ─▶ forecast (a dry run ends here)
                               ▶ sending ─ all acknowledged ─▶ settling ─ all heard ─▶ done
             ─ cannot be used ─▶ refused

Theory of operation. What will be sent is written to PostgreSQL first, in one transaction, with the
ends of the raw topic's partitions of that moment. Then orders are sent in chunks; after the broker
has acknowledged one, its number is noted. A process that dies in between sends that chunk again,
byte for byte, which the order keeper takes for the repeat it is.

The receipt does not believe the forecast. It asks the ledger for what the order keeper said of each
order: the first event with the order's digest and a cause at or above those ends. A chunk that was
sent twice has two such events, and the first one counts. So has a run of the same file an hour ago,
but its causes lie below. What intake or the keeper has parked is found by the same place.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import msgpack

from agents.intake import Intake
from agents.letters import unseal
from agents.reference import Directory
from schemas.base import order_key
from schemas.errors import Rejected, Unavailable
from schemas.orders import ObserveOrder
from streams.clock import new_id, now_ms
from streams.engine.failpoints import failpoint
from streams.feed.sending import Raw, Sender
from streams.importing.files import BadFile
from streams.importing.forecast import Existing, Forecast, Verdict, forecast
from streams.importing.planning import Plan, Planned, Reading, plan
from streams.importing.store import Job, Jobs, Sent, Settled, Wish
from streams.postgres.queries import sql
from streams.raw_log import Place, RawLog
from streams.reference import intake_of, read_all
from streams.settings import Settings
from streams.topics import raw

Progress = Callable[[str], None]

#: Orders that are sent before it is noted.
CHUNK = 2_000
#: Orders that the ledger is asked about at once.
_PAGE = 5_000
#: The ledger is asked again this often while it is behind.
_ASK_EVERY_S = 0.25
#: Nothing new for so long: every order that is left is asked about.
_THOROUGH_S = 3.0
#: As many as a statement's digest has.
_DIGEST_DIGITS = 16
_READ_BYTES = 1024 * 1024
#: The broker dates events, PostgreSQL the job: so far their clocks may be apart.
_CLOCKS_APART = timedelta(hours=1)
#: How long nothing may be heard of the orders that are left, s.
PATIENCE_S = 120.0
#: A process that has noted its last word has left the job after so long, s.
_LEAVING_S = 5.0


class StillSettling(Unavailable):
    """Everything is sent, and the ledger has not said yet what became of it."""


class AtWork(Rejected):
    """Another process works at this import."""


class Look(NamedTuple):
    """A file, read, and what it would meet."""

    plan: Plan
    forecast: Forecast


class _Event(msgspec.Struct):
    """What is read of an event about an order."""

    cause: str
    digest: str
    why: str = ""


_event = msgspec.json.Decoder(_Event).decode
_observed = msgpack.Decoder(ObserveOrder).decode


async def wish_of(
    path: Path,
    reading: Reading,
    existing: Existing,
    operator: str,
    reason: str,
    *,
    name: str = "",
    dry_run: bool = False,
) -> Wish:
    """Return what is wanted, with the file's digest; raises BadFile, Rejected."""
    if not reading.shop or not reading.shop.isprintable() or " " in reading.shop:
        raise Rejected("Name the shop whose orders these are, as the reference data calls it.")
    if not operator.strip() or not reason.strip():
        raise Rejected("Say who imports, and why; both stay with the import.")
    digest, size = await asyncio.to_thread(digest_of, path)
    where = str(await asyncio.to_thread(path.resolve))
    return Wish(
        where, name or path.name, digest, size, reading, existing, operator, reason, dry_run
    )


def digest_of(path: Path) -> tuple[str, int]:
    """Return the SHA-256 of a file and its size; raises BadFile."""
    found, size = sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_READ_BYTES):
                found.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}.") from error
    return found.hexdigest(), size


async def dry_run(
    settings: Settings, path: Path, reading: Reading, existing: Existing, progress: Progress
) -> Look:
    """Read *path* and say what it would meet; writes nothing anywhere."""
    progress(f"reading {path.name}")
    forced_at_ms = now_ms() if existing is Existing.FORCE else None
    planned = _planned(path, reading, forced_at_ms)
    async with Jobs.opened(settings, reads=True) as jobs:
        return await _look(settings, planned, reading, existing, jobs, progress)


def _planned(path: Path, reading: Reading, forced_at_ms: int | None) -> Plan:
    with _no_cycles():
        return plan(path, reading, forced_at_ms)


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Make a hundred thousand values without being looked through for cycles: twice as fast."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def _look(
    settings: Settings,
    planned: Plan,
    reading: Reading,
    existing: Existing,
    jobs: Jobs,
    progress: Progress,
) -> Look:
    progress(
        f"{planned.row_count:,} rows are read; looking what {len(planned.orders):,} would meet"
    )
    intake = await _intake(settings)
    where = reading.platform, reading.shop
    with _no_cycles():
        found = await forecast(planned, where, existing, intake, jobs.connection, now_ms())
    return Look(planned, found)


async def _intake(settings: Settings) -> Intake:
    directory = Directory()
    for key, value in (await read_all(settings)).items():
        directory.put(key, value)
    return intake_of(settings, directory)


async def begin(settings: Settings, wish: Wish) -> str:
    """Begin a job, or find the one of the same file and wish that has not ended; return its id."""
    async with Jobs.opened(settings) as jobs:
        found = None if wish.dry_run else await jobs.again(wish)
        if found is not None:
            return found
        id_ = new_id()
        await jobs.received(id_, wish)
        return id_


async def carry_out(
    settings: Settings,
    id_: str,
    progress: Progress,
    patience_s: float = PATIENCE_S,
    looked: Callable[[Look], None] = lambda _: None,
) -> Job:
    """
    Do what is left of a job, and return it; a dry run's look is handed to *looked*.

    Raises BadFile and Rejected where the file cannot be used (nothing of it was sent then),
    AtWork, StillSettling, Unavailable, Misconfigured.
    """
    async with Jobs.opened(settings) as jobs:
        job = await jobs.job(id_)
        if job.state in ("done", "refused"):
            return job
        if not await _claimed(jobs, id_):
            raise AtWork(f"Another process works at import {id_}; `orderflow import show {id_}`.")
        await _Work(settings, jobs, await jobs.job(id_), progress, patience_s).done(looked)
        return await jobs.job(id_)


async def _claimed(jobs: Jobs, id_: str) -> bool:
    """Claim a job, also where a process on another machine is just leaving it."""
    until = time.monotonic() + _LEAVING_S
    while not await jobs.claim(id_):
        if time.monotonic() > until:
            return False
        await asyncio.sleep(_ASK_EVERY_S)
    return True


class _Work:
    """One process's work at one job."""

    def __init__(
        self, settings: Settings, jobs: Jobs, job: Job, progress: Progress, patience_s: float
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._job = job
        self._progress = progress
        self._patience_s = patience_s
        #: All orders up to this number have their verdict.
        self._settled_up_to = 0
        self._point = {
            name: failpoint(settings.failpoint, f"import-{name}")
            for name in ("read", "planned", "sent", "marked", "settled")
        }

    async def done(self, looked: Callable[[Look], None]) -> None:
        planned = await self._read()
        self._visit("read")
        if self._job.state in ("received", "forecast"):
            look = await self._look(planned)
            if self._job.dry_run:
                looked(look)
                await self._jobs.forecast(self._job.id, look.forecast, planned.row_count)
                return
            async with RawLog(self._settings) as log:
                began = await log.ends(raw(self._job.platform))
            await self._jobs.planned(self._job.id, look.forecast, planned.row_count, began)
            self._visit("planned")
            self._job = await self._jobs.job(self._job.id)
        if self._job.state == "sending":
            await self._send(planned)
        await self._settle()
        bad_rows = len(await self._jobs.refusals(self._job.id, 0, planned.row_count + 1))
        await self._jobs.done(self._job.id, bad_rows)

    def _visit(self, name: str) -> None:
        point = self._point[name]
        if point is not None:
            point()

    async def _read(self) -> Plan:
        """Read the file as it was read before; what cannot be used ends the job."""
        job, path = self._job, Path(self._job.path)
        self._progress(f"reading {job.file_name}")
        forced_at_ms = None
        if job.existing is Existing.FORCE:
            forced_at_ms = await self._jobs.forced_at_ms(job.id)
        try:
            if digest_of(path)[0] != job.file_digest:
                raise BadFile(f"{path}: the file was changed since; import it anew.")
            return _planned(path, job.reading, forced_at_ms)
        except Rejected as error:
            if job.state in ("received", "forecast"):
                await self._jobs.refused(job.id, str(error))
            raise

    async def _look(self, planned: Plan) -> Look:
        job = self._job
        return await _look(
            self._settings, planned, job.reading, job.existing, self._jobs, self._progress
        )

    # --- sending ----------------------------------------------------------------------------------

    async def _send(self, planned: Plan) -> None:
        job, number = self._job, self._job.sent
        platform, shop = job.platform, job.shop
        by_key = {order_key(platform, shop, each.order_id): each for each in planned.orders}
        async with Sender(self._settings, [platform], log=None) as sender:
            while page := await self._jobs.orders(job.id, number, CHUNK):
                for row in page:
                    if row["verdict"] is None:
                        await sender.send(_message(job, row, by_key))
                await sender.flush()
                self._visit("sent")
                number = page[-1]["number"]
                await self._jobs.sent(job.id, number, all_of_it=False)
                self._visit("marked")
                self._progress(f"{number:,} of {job.order_count or 0:,} orders are sent")
        await self._jobs.sent(job.id, number, all_of_it=True)

    # --- settling ---------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Hear of every order what was decided; raises StillSettling where that is not said."""
        heard_s, total = time.monotonic(), self._job.order_count or 0
        settled = await self._jobs.count_settled(self._job.id)
        while settled < total:
            found = await self._hear(thorough=time.monotonic() - heard_s > _THOROUGH_S)
            settled += found
            if found:
                heard_s = time.monotonic()
                self._progress(f"the ledger has said what became of {settled:,} orders")
            elif time.monotonic() - heard_s > self._patience_s:
                raise StillSettling(
                    f"All is sent, and nothing was heard of {total - settled:,} orders for "
                    f"{self._patience_s:g} s. Are intake, orders, stock and ledger running? The "
                    f"receipt is made by `orderflow import resume {self._job.id}`."
                )
            else:
                await asyncio.sleep(_ASK_EVERY_S)

    async def _hear(self, *, thorough: bool) -> int:
        """
        Settle what can be settled now; return how many.

        A page is looked through once its last order was heard of, because the ledger is as far as
        that with most of the others; a *thorough* look goes through every page.
        """
        id_, settled = self._job.id, 0
        after, is_first = self._settled_up_to, True
        while page := await self._jobs.unsettled(id_, after, _PAGE):
            if is_first:
                self._settled_up_to, is_first = page[0].number - 1, False
            after = page[-1].number
            if not thorough and not await self._decided(page[-1:]):
                continue
            found = await self._decided(page)
            if found:
                await self._jobs.settle(id_, found)
                self._visit("settled")
            settled += len(found)
        return settled

    async def _decided(self, page: list[Sent]) -> list[Settled]:
        by_key = {each.order_key: each for each in page}
        since = self._job.created_at - _CLOCKS_APART
        rows = await self._jobs.connection.fetch(sql("decided_of_orders"), list(by_key), since)
        found: dict[str, Settled] = {}
        for row in rows:
            key = row["order_key"]
            if key in found:
                continue
            event = _event(row["body"])
            if event.digest == by_key[key].digest and self._is_of_this_job(event.cause):
                found[key] = Settled(by_key[key].number, _verdict(row, event))
        missing = {key: each for key, each in by_key.items() if key not in found}
        return [*found.values(), *await self._parked(missing)]

    def _is_of_this_job(self, cause: str) -> bool:
        place = Place.of(cause)
        return place is not None and self._is_since(place.topic, place.partition, place.offset)

    def _is_since(self, topic: str, partition: int, offset: int) -> bool:
        began = self._job.began
        return (
            topic == raw(self._job.platform)
            and partition < len(began)
            and offset >= began[partition]
        )

    async def _parked(self, missing: Mapping[str, Sent]) -> list[Settled]:
        """Return the orders that were parked by intake's rules or by the keeper."""
        if not missing:
            return []
        by_id = {key.split(":", 2)[2].encode(): each for key, each in missing.items()}
        rows = await self._jobs.connection.fetch(
            sql("parked_of_orders"),
            raw(self._job.platform),
            list(by_id),
            [key.encode() for key in missing],
        )
        found: dict[int, Settled] = {}
        for row in rows:
            one = by_id.get(row["key"]) or missing.get(row["key"].decode("utf-8", "replace"))
            if one is not None and self._is_it(row, one):
                found[one.number] = Settled(
                    one.number, Verdict.BAD.value, row["field"], row["reason"]
                )
        return list(found.values())

    def _is_it(self, row: Any, one: Sent) -> bool:
        if row["topic"] == raw(self._job.platform):
            digest = sha256(row["value"]).hexdigest()[:_DIGEST_DIGITS]
            place = row["topic"], row["partition"], row["record_offset"]
            return digest == one.digest and self._is_since(*place)
        try:
            source = _observed(unseal(row["value"])[3]).source
        except (msgspec.MsgspecError, Rejected):
            return False
        return source.digest == one.digest and self._is_of_this_job(source.cause)


def _message(job: Job, row: Mapping[str, Any], by_key: Mapping[str, Planned]) -> Raw:
    planned = by_key.get(row["order_key"])
    payload = planned.payload if planned is not None else b""
    if planned is None or sha256(payload).hexdigest()[:_DIGEST_DIGITS] != row["digest"]:
        raise Rejected(
            f"Import {job.id} was begun by a version that reads this file otherwise; the rest was "
            "not sent. Import the file anew: what was sent is a duplicate then."
        )
    return Raw(job.platform, job.shop, planned.order_id.encode(), payload, {})


def _verdict(row: Any, event: _Event) -> str:
    if row["event"] == "order.observed":
        return (Verdict.NEW if row["version"] == 1 else Verdict.UPDATE).value
    return Verdict(event.why).value
