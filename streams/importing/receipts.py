"""
What a person takes away from an import: the refused rows as a file, and a verdict for every row.

Promise: no cell of these files runs as a formula where they are opened. A refused row keeps its
columns, so that it can be put right and the file imported as it is.
"""

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from schemas.errors import Rejected
from streams.importing.files import Table, lines, opened, rows
from streams.importing.forecast import Forecast, Verdict
from streams.importing.planning import Bad, Planned
from streams.importing.store import Job, Jobs
from streams.importing.templates import REFUSED_COLUMNS

_PAGE = 5_000
_RUNS = re.compile(r"\s*[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
REPORT_COLUMNS = (
    "row", "order_id", "verdict", "field", "reason", "created_at_said", "created_at_utc",
)  # fmt: skip


class RowVerdict(NamedTuple):
    """What became of one row, or would."""

    row: int
    order_id: str
    verdict: str
    field: str = ""
    reason: str = ""
    #: When its order was placed: as the file says it, and as that was read.
    created_at_said: str = ""
    created_at_utc: str = ""


def guarded(cell: str) -> str:
    """Return *cell* so that no spreadsheet takes it for a formula; reading it undoes that."""
    return f"'{cell}" if _RUNS.match(cell) and not _NUMBER.fullmatch(cell) else cell


def utc(iso: str) -> str:
    """Return a time with an offset in UTC."""
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S}Z" if iso else ""


def of_forecast(found: Forecast) -> list[RowVerdict]:
    """Return what every row would meet, in the order of the file."""
    verdicts = [
        RowVerdict(row, bad.order_id, Verdict.BAD.value, bad.field, bad.reason)
        for row, bad in found.bad.items()
    ]
    for outlook in found.outlooks:
        planned = outlook.planned
        verdicts += _rows_of(planned, outlook.verdict.value, "", "")
    return sorted(verdicts)


def _rows_of(planned: Planned, verdict: str, field: str, reason: str) -> Iterator[RowVerdict]:
    when = planned.created_said, utc(planned.created_iso)
    for row in planned.rows:
        yield RowVerdict(row, planned.order_id, verdict, field, reason, *when)


async def of_job(jobs: Jobs, job: Job) -> list[RowVerdict]:
    """Return what became of every row of a job, in the order of the file; "" is not said yet."""
    verdicts = [
        RowVerdict(row, bad.order_id, Verdict.BAD.value, bad.field, bad.reason)
        for row, bad in (await refused_before(jobs, job.id)).items()
    ]
    number = 0
    while page := await jobs.orders(job.id, number, _PAGE):
        number = page[-1]["number"]
        for order in page:
            order_id = order["order_key"].split(":", 2)[2]
            verdicts += [
                RowVerdict(
                    row, order_id, order["verdict"] or "", order["field"] or "",
                    order["reason"] or "",
                )
                for row in order["lines"]
            ]  # fmt: skip
    return sorted(verdicts)


async def refused_before(jobs: Jobs, id_: str) -> dict[int, Bad]:
    """Return the rows of a job that were refused before anything was sent."""
    found: dict[int, Bad] = {}
    after = 0
    while page := await jobs.refusals(id_, after, _PAGE):
        after = page[-1]["line"]
        found |= {
            each["line"]: Bad(each["field"], each["reason"], each["order_id"]) for each in page
        }
    return found


def write_report(verdicts: Iterable[RowVerdict], to: Path) -> None:
    """Write a verdict for every row to *to*; raises Rejected where it cannot be written."""
    _write(to, REPORT_COLUMNS, (tuple(map(str, each)) for each in verdicts))


def write_refused(table: Table, verdicts: Iterable[RowVerdict], to: Path) -> int:
    """
    Write the rows that are bad to *to*, with their cells and why; return how many.

    Where there is none, no file is written, and one from before is removed.
    """
    bad = {each.row: each for each in verdicts if each.verdict == Verdict.BAD.value}
    if not bad:
        to.unlink(missing_ok=True)
        return 0
    if table.kind == "jsonl":
        columns: tuple[str, ...] = ("line",)
        found: Iterator[tuple[int, Any]] = (
            (number, (line.decode("utf-8", "replace"),)) for number, line in lines(table)
        )
    else:
        columns, found = table.columns, rows(table)
    blank = ("",) * len(columns)
    _write(
        to,
        (*columns, *REFUSED_COLUMNS),
        (
            (*(cells or blank), str(number), bad[number].field, bad[number].reason)
            for number, cells in found
            if number in bad
        ),
    )
    return len(bad)


def _write(to: Path, columns: Iterable[str], body: Iterable[Iterable[str]]) -> None:
    """Write CSV as spreadsheets read it: UTF-8 with its mark, every cell quoted; whole or not."""
    aside = to.with_name(to.name + ".part")
    try:
        with aside.open("w", encoding="utf-8-sig", newline="", errors="replace") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow([guarded(each) for each in columns])
            writer.writerows([guarded(each) for each in row] for row in body)
        os.replace(aside, to)  # noqa: PTH105  what reads as "replace", not as "rename"
    except OSError as error:
        raise Rejected(f"{to}: {error.strerror}; name another place.") from error


async def refused_of(jobs: Jobs, job: Job, to: Path) -> int:
    """Write the refused rows of a job to *to*, from its file; return how many. Raises Rejected."""
    verdicts = await of_job(jobs, job)
    if not any(each.verdict == Verdict.BAD.value for each in verdicts):
        return write_refused(_NONE, [], to)
    reading: Mapping[str, Any] = job.reading._asdict()
    table = opened(Path(job.path), reading["encoding"], reading["sheet"])
    return write_refused(table, verdicts, to)


_NONE = Table(Path(), "csv", "utf-8", ())
