"""
Mappings from a CSV file, as people keep them in a spreadsheet.

    platform,shop,theirs,ours[,from][,until][,why]

An empty `ours` unmaps. A time has its zone (`2026-11-11T00:00:00+08:00`) or is a bare day, which
is refused: a day begins at another instant in each zone. UTF-8, or GB18030 as Chinese Excel saves.
"""

import csv
import io
from datetime import datetime
from pathlib import Path

from schemas.errors import Rejected
from streams.mapping.table import ROWS_MAX, Wish

COLUMNS = ("platform", "shop", "theirs", "ours")
OPTIONAL = ("from", "until", "why")
#: A larger file is no list of mappings.
BYTES_MAX = 64 * 1024 * 1024


class BadMappings(Rejected):
    """The file cannot be used."""


def read(file: Path, why: str) -> list[tuple[int, Wish | str]]:
    """
    Return each row's line number with what it wishes, or with why it cannot be read.

    Raises BadMappings where the file as a whole cannot be used.
    """
    reader = csv.DictReader(io.StringIO(_text(file)), strict=True)
    names = reader.fieldnames or []
    if missing := [name for name in COLUMNS if name not in names]:
        raise BadMappings(
            f"{file}: the first line has to name the columns {', '.join(COLUMNS)}; "
            f"missing: {', '.join(missing)}."
        )
    if unknown := [name for name in names if name not in COLUMNS + OPTIONAL]:
        raise BadMappings(
            f"{file}: there is no column {unknown[0]!r}; beside the four there may be "
            f"{', '.join(OPTIONAL)}."
        )
    try:
        rows = [(reader.line_num, _wish(row, why)) for row in reader]
    except csv.Error as error:
        raise BadMappings(f"{file}, line {reader.line_num}: no CSV: {error}.") from error
    if not rows or len(rows) > ROWS_MAX:
        raise BadMappings(f"{file}: {len(rows)} rows; give 1 to {ROWS_MAX:,}.")
    return rows


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > BYTES_MAX:
            raise BadMappings(f"{file}: larger than {BYTES_MAX:,} bytes.")
        said = file.read_bytes()
    except OSError as error:
        raise BadMappings(f"{file}: {error.strerror}.") from error
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return said.decode(encoding)
        except UnicodeError:
            continue
    raise BadMappings(f"{file}: neither UTF-8 nor GB18030; save it as UTF-8.")


def _wish(row: dict[str, str | None], why: str) -> Wish | str:
    if None in row:
        return "the row has more cells than the first line has names"
    said = {name: (value or "").strip() for name, value in row.items()}
    try:
        from_ms, until_ms = instant(said.get("from", "")), instant(said.get("until", ""))
    except ValueError as error:
        return str(error)
    return Wish(
        platform=said["platform"],
        shop=said["shop"],
        theirs=said["theirs"],
        ours=said["ours"] or None,
        from_ms=from_ms,
        until_ms=until_ms,
        why=said.get("why") or why,
    )


def instant(said: str) -> int | None:
    """Return the ms of a time that names its zone; "" is None. Raises ValueError in a sentence."""
    if not said:
        return None
    try:
        found = datetime.fromisoformat(said)
    except ValueError:
        raise ValueError(f"{said!r} is no time such as 2026-11-11T00:00:00+08:00") from None
    if found.tzinfo is None:
        raise ValueError(f"{said!r} names no zone; write 2026-11-11T00:00:00+08:00")
    return round(found.timestamp() * 1000)
