"""
A list that is taken away as a file, CSV or spreadsheet, on record.

Promise: no cell runs where the file is opened, and the record has who took what, how many rows they
were and, where nothing came of it, why.
"""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from starlette.responses import Response

from streams.console.page import Visit
from streams.importing.receipts import guarded

Cells = tuple[str, ...]

#: A file has at most so many orders.
ROWS_MAX = 20_000
_KINDS = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


async def taken_away(
    visit: Visit,
    name: str,
    ending: str,
    asked: str,
    columns: Cells,
    found: AsyncIterator[Cells | None],
) -> Response:
    """Return what is *found* for *asked* as a file; None among it says that this is not all."""
    rows, cut = [columns], (visit.say("export_cut"),)
    async with visit.on_record(f"{name}.export", f"{ending} {asked}") as entry:
        rows += [cells if cells is not None else cut async for cells in found]
        entry.said = f"{len(rows) - 1} rows"
    body = as_csv(rows) if ending == "csv" else await asyncio.to_thread(as_xlsx, rows, name)
    headers = {
        "cache-control": "no-store",
        "content-disposition": (
            f'attachment; filename="{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{ending}"'
        ),
    }
    return Response(body, 200, headers, media_type=_KINDS[ending])


def as_csv(rows: Iterable[Cells]) -> bytes:
    """Return *rows* as CSV in UTF-8 with its mark; no cell runs as a formula where it is opened."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([guarded(cell) for cell in row] for row in rows)
    return text.getvalue().encode("utf-8-sig", "replace")


def as_xlsx(rows: Iterable[Cells], name: str = "orders") -> bytes:
    """Return *rows* as a spreadsheet called *name* in which every cell is a text."""
    book = Workbook(write_only=True)
    sheet = book.create_sheet(name)
    for row in rows:
        sheet.append([_text_cell(sheet, cell) for cell in row])
    saved = io.BytesIO()
    book.save(saved)
    return saved.getvalue()


def _text_cell(sheet: Any, said: str) -> Any:
    cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("�", said))
    cell.data_type = "s"
    return cell
