"""
A file looked at, or taken: from its bytes to its differences.

A look writes nothing. To take is one transaction: a process that is killed has taken all of it or
nothing, and the same file again finishes either way.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from schemas.errors import Rejected
from streams.clock import new_id
from streams.importing.files import BadFile
from streams.importing.running import digest_of
from streams.postgres.addresses import operations_of, reader_of
from streams.settings import Settings
from streams.settlements.reading import Look, Reading, read
from streams.settlements.store import Settlements, Source, Taken, sums_of

Progress = Callable[[str], None]

#: Bad rows that are told of one file.
BAD_MAX: Final = 50


async def look(path: Path, reading: Reading, progress: Progress) -> Look:
    """Return what a file says; raises BadFile, Rejected where it cannot be used at all."""
    progress(f"reading {path.name}")
    found = await asyncio.to_thread(read, path, reading)
    progress(f"{found.row_count:,} rows are read")
    return found


async def look_facts(settings: Settings, found: Look, reading: Reading) -> dict[str, Any]:
    """Return what a look tells: what would be taken, and how much of it is of orders of ours."""
    async with Settlements.opened(reader_of(settings)) as known:
        ours = await known.known_orders(reading.platform, reading.shop, found.lines)
    moments = [line.at_ms for line in found.lines]
    return {
        "ok": not found.bad,
        "dry_run": True,
        "template": found.template.name,
        "title": found.template.title,
        "kind": found.table.kind,
        "encoding": found.table.encoding,
        "rows": found.row_count,
        "lines": len(found.lines),
        "names": len(found.names),
        "orders": len({line.order for line in found.lines if line.order is not None}),
        "orders_known": ours,
        "first_ms": min(moments, default=None),
        "last_ms": max(moments, default=None),
        "adds_up": found.adds_up,
        "kinds": dict(Counter(line.kind.value for line in found.lines)),
        "sums": sums_of(found.lines),
        "bad_rows": len(found.bad),
        "bad": [bad._asdict() for bad in found.bad[:BAD_MAX]],
        "passed_over": found.passed_over,
    }


async def take(
    settings: Settings, path: Path, name: str, reading: Reading, operator: str, progress: Progress
) -> Taken:
    """Take a file; raises BadFile, Rejected, and nothing of it is taken then."""
    if not operator.strip():
        raise Rejected("Say who takes the file; it stays with it.")
    digest, size = await asyncio.to_thread(digest_of, path)
    found = await look(path, reading, progress)
    if found.bad:
        first = found.bad[0]
        raise BadFile(
            f"{name}: {len(found.bad):,} of {found.row_count:,} rows cannot be used, so nothing "
            f"was taken; the first: row {first.row}: {first.field}: {first.reason}."
        )
    source = Source(new_id(), digest, name, size, reading.platform, reading.shop, operator)
    progress(f"{len(found.lines):,} lines are written and matched")
    async with Settlements.opened(operations_of(settings)) as known:
        return await known.take(source, found)
