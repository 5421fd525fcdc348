"""
A file's bytes as a table: CSV, XLSX or JSON lines; anything else is refused in one sentence.

The encoding is what the bytes prove (a byte order mark, or UTF-8 without one mistake) or what a
person names. GB18030 accepts nearly any bytes, so it is never taken on its own: the refusal shows
how the first line would read, and `--encoding gb18030` is the confirmation.

A spreadsheet is a zip of XML. Its directory is added up before anything is unpacked, its members
are read once, within limits, in search of declarations that expand, and only then it is opened, row
by row. What is packed otherwise is not unpacked at all.
"""

import csv
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from schemas.errors import Rejected

#: A larger file is cut in two by its owner.
FILE_BYTES_MAX: Final = 128 * 1024 * 1024
#: Rows of one file, the header not counted.
ROWS_MAX: Final = 200_000
#: Columns of one table.
COLUMNS_MAX: Final = 300
#: One line of JSON, as intake limits a message.
LINE_BYTES_MAX: Final = 512 * 1024
#: What a spreadsheet may unpack to, in all; to texts, which are held in memory; and how many times
#: its size a larger member.
UNPACKED_BYTES_MAX: Final = 400 * 1024 * 1024
TEXTS_BYTES_MAX: Final = 100 * 1024 * 1024
EXPANSION_MAX: Final = 100
_SMALL_BYTES: Final = 1024 * 1024
MEMBERS_MAX: Final = 2_000
DIRECTORY_BYTES_MAX: Final = 1024 * 1024
#: The end of a zip: its last record and the longest comment.
_TAIL_BYTES: Final = 66_000
#: Rows that a sheet may leave empty.
_GAPS_MAX: Final = 50_000

#: A person may name these.
ENCODINGS: Final = ("utf-8", "gb18030", "utf-16", "utf-16-le", "utf-16-be")
_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig", "utf-8"),
    (b"\xff\xfe", "utf-16", "utf-16"),
    (b"\xfe\xff", "utf-16", "utf-16"),
)
_SAMPLE_BYTES: Final = 64 * 1024
_CHUNK_BYTES: Final = 1024 * 1024
_SHOWN_MAX: Final = 60
_OVERLAP: Final = 16
_DECLARATIONS: Final = (b"<!DOCTYPE", b"<!ENTITY")
#: XML in UTF-16, in which they would not be seen; no program writes tables so.
_WIDE_XML: Final = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")
#: Beginnings of what is no table -> what it is and what to do.
_OTHERS: Final = (
    (b"\xd0\xcf\x11\xe0", "an old or encrypted workbook; save it as .xlsx without a password"),
    (b"\x1f\x8b", "packed with gzip; unpack it first"),
    (b"BZh", "packed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "packed with xz; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd; unpack it first"),
    (b"7z\xbc\xaf", "packed with 7-Zip; unpack it first"),
    (b"Rar!", "packed with RAR; unpack it first"),
    (b"%PDF", "a PDF; export a table instead"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)  # fmt: skip

Cells = Sequence[str]


class BadFile(Rejected):
    """The file cannot be used."""


class Table(NamedTuple):
    """An opened file: its columns, and its rows as often as they are asked for."""

    path: Path
    #: csv, xlsx or jsonl.
    kind: str
    encoding: str
    #: Empty for JSON lines.
    columns: tuple[str, ...]
    delimiter: str = ","
    sheet: str = ""
    #: What a line of CSV begins with that is a remark about the table, before its first line or
    #: behind its last; empty: there are none.
    remark: str = ""


def opened(path: Path, encoding: str | None, sheet: str | None, remark: str = "") -> Table:
    """Return the table in *path*, without lines of CSV that are a *remark*; raises BadFile."""
    with _bytes(path) as file:
        head = file.read(_SAMPLE_BYTES)
    _refuse_foreign(path, head)
    if head.startswith(b"PK\x03\x04"):
        return _workbook(path, sheet)
    if sheet is not None:
        raise BadFile(f"{path.name}: only a spreadsheet has sheets; leave out --sheet.")
    decided = _encoding(path, head, encoding)
    first = _first_character(path, decided)
    if first == "{":
        return Table(path, "jsonl", decided, ())
    if first == "[":
        raise BadFile(
            f"{path.name}: a JSON list; write one order a line, without the brackets around them."
        )
    if first == "<":
        raise BadFile(f"{path.name}: a web page or XML, whatever its name says; save it as CSV.")
    return _csv(path, decided, remark)


def rows(table: Table) -> Iterator[tuple[int, Cells | None]]:
    """
    Yield each row's number, counted as a spreadsheet does, and its cells.

    None stands for a row with another number of cells than the first line. Raises BadFile.
    """
    found = _csv_rows(table) if table.kind == "csv" else _sheet_rows(table)
    for count, row in enumerate(found):
        if count >= ROWS_MAX:
            raise BadFile(f"{table.path.name}: more than {ROWS_MAX:,} rows; cut it in two.")
        yield row


def lines(table: Table) -> Iterator[tuple[int, bytes]]:
    """Yield each line of JSON lines with its number, as UTF-8; raises BadFile."""
    count = 0
    with table.path.open(encoding=table.encoding, newline="\n") as text:
        for number in range(1, 2 * ROWS_MAX):
            line = text.readline(LINE_BYTES_MAX + 1)
            if not line:
                return
            if len(line) > LINE_BYTES_MAX:
                raise BadFile(
                    f"{table.path.name}, line {number}: longer than {LINE_BYTES_MAX:,} characters; "
                    "write one order a line."
                )
            line = line.removeprefix("\ufeff").strip()
            if line:
                count += 1
                if count > ROWS_MAX:
                    break
                yield number, line.encode()
    raise BadFile(f"{table.path.name}: more than {ROWS_MAX:,} rows; cut it in two.")


def _bytes(path: Path) -> IO[bytes]:
    try:
        if not path.is_file():
            raise BadFile(f"{path}: there is no such file.")
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise BadFile(f"{path.name}: {size:,} bytes; at most {FILE_BYTES_MAX:,} are read.")
        if not size:
            raise BadFile(f"{path.name}: the file is empty.")
        return path.open("rb")
    except OSError as error:
        raise BadFile(f"{path}: {error.strerror}.") from error


def _refuse_foreign(path: Path, head: bytes) -> None:
    for mark, what in _OTHERS:
        if head.startswith(mark):
            raise BadFile(f"{path.name}: {what}.")
    if head.startswith(b"PK") and not head.startswith(b"PK\x03\x04"):
        raise BadFile(f"{path.name}: an archive; unpack it first.")


# --- encodings ------------------------------------------------------------------------------------


def _encoding(path: Path, head: bytes, named: str | None) -> str:
    if named is not None and named.lower() not in ENCODINGS:
        raise BadFile(f"There is no encoding {named!r} here; choose from {', '.join(ENCODINGS)}.")
    named = named.lower() if named else None
    found = [(codec, family) for mark, codec, family in _MARKS if head.startswith(mark)]
    marked = found[0] if found else None
    if marked is not None:
        if named is not None and not named.startswith(marked[1]):
            raise BadFile(
                f"{path.name}: its byte order mark says {marked[1]}, not {named}; "
                "leave out --encoding."
            )
        decided = marked[0]
    elif named is not None:
        decided = "utf-16-le" if named == "utf-16" else named
    else:
        decided = "utf-8"
    bad = _first_mistake(path, decided)
    if bad is None:
        return decided
    if named is None and marked is None:
        raise BadFile(f"{path.name}: {_advice(head)}")
    raise BadFile(f"{path.name}: the bytes near {bad:,} are no {decided}.")


def _first_mistake(path: Path, encoding: str) -> int | None:
    """Return about where *path* stops being *encoding*, strictly; None: nowhere."""
    read = 0
    try:
        with path.open(encoding=encoding, errors="strict", newline="") as text:
            while chunk := text.read(_CHUNK_BYTES):
                read += len(chunk)
                if "\0" in chunk:
                    return read
    except UnicodeError:
        return read
    return None


def _advice(head: bytes) -> str:
    """Say what bytes that are no UTF-8 may be: people decide, by the way it reads."""
    if b"\0" in head:
        for codec in ("utf-16-le", "utf-16-be"):
            first = head[: len(head) // 2 * 2].decode(codec, "replace").split("\n", 1)[0].rstrip()
            if first.isprintable() and any(each in first for each in ",\t;{"):
                shown = first[:_SHOWN_MAX]
                return f"it may be UTF-16 and read {shown!r}; if so, say --encoding {codec}."
        return "it holds NUL bytes, so it is no text; export it as CSV in UTF-8."
    line = head.split(b"\n", 1)[0]
    try:
        shown = line.rstrip(b"\r").decode("gb18030")[:_SHOWN_MAX]
    except UnicodeError:
        return "neither UTF-8 nor GB18030; save it as UTF-8."
    return (
        f"it is no UTF-8. As GB18030 its first line would read {shown!r}: if that is right, say "
        "--encoding gb18030; if not, save it as UTF-8."
    )


def _first_character(path: Path, encoding: str) -> str:
    with path.open(encoding=encoding, newline="") as text:
        head = text.read(_SHOWN_MAX * 10).lstrip("\ufeff \t\r\n")
    if not head:
        raise BadFile(f"{path.name}: there is nothing in it but blanks.")
    return head[0]


# --- CSV ------------------------------------------------------------------------------------------


def _csv(path: Path, encoding: str, remark: str) -> Table:
    with path.open(encoding=encoding, newline="") as text:
        line = text.readline(_SAMPLE_BYTES)
        while remark and line.startswith(remark):
            line = text.readline(_SAMPLE_BYTES)
    delimiter = max(",\t;", key=line.count)
    table = Table(path, "csv", encoding, (), delimiter, remark=remark)
    header = next(_records(table), None)
    if header is None:
        raise BadFile(f"{path.name}: the first line has to name the columns.")
    return table._replace(columns=_names(path, header[1]))


def _names(path: Path, header: Cells) -> tuple[str, ...]:
    names = [each.strip().strip("\ufeff").strip() for each in header]
    while names and not names[-1]:
        names.pop()
    if len(names) > COLUMNS_MAX:
        raise BadFile(f"{path.name}: {len(names)} columns; at most {COLUMNS_MAX} are read.")
    if not names or not all(names):
        raise BadFile(f"{path.name}: the first line has to name every column.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadFile(f"{path.name}: the column {twice!r} stands there twice.")
    return tuple(names)


def _csv_rows(table: Table) -> Iterator[tuple[int, Cells | None]]:
    width = len(table.columns)
    for number, cells in islice(_records(table), 1, None):
        if not any(cells):
            continue
        while len(cells) > width and not cells[-1]:
            cells.pop()
        yield number, cells if len(cells) == width else None


def _records(table: Table) -> Iterator[tuple[int, list[str]]]:
    with table.path.open(encoding=table.encoding, newline="") as text:
        reader = csv.reader(text, delimiter=table.delimiter, strict=True)
        try:
            for number, cells in enumerate(reader, 1):
                if not (table.remark and cells and cells[0].startswith(table.remark)):
                    yield number, cells
        except csv.Error as error:
            raise BadFile(f"{table.path.name}, line {reader.line_num}: no CSV: {error}.") from error


# --- spreadsheets ---------------------------------------------------------------------------------


def _workbook(path: Path, sheet: str | None) -> Table:
    _refuse_bomb(path)
    with _book(path) as book:
        name = _sheet(path, book, sheet)
        table = Table(path, "xlsx", "", (), sheet=name)
        header = next(_cells(path, book[name], COLUMNS_MAX + 1), None)
    if header is None:
        raise BadFile(f"{path.name}: the sheet {name!r} is empty; name another with --sheet.")
    return table._replace(columns=_names(path, header[1]))


@contextmanager
def _book(path: Path) -> Iterator[Any]:
    """Open a workbook; it and its file are closed whatever happens."""
    from streams.importing import workbook  # noqa: PLC0415  heavy, and only spreadsheets need it

    with path.open("rb") as file:
        try:
            book = workbook.opened(file)
        except Exception as error:  # its parser raises what it likes: KeyError, ParseError, ...
            raise BadFile(
                f"{path.name}: no spreadsheet that can be read ({type(error).__name__}); "
                "save it anew as .xlsx, or as CSV in UTF-8."
            ) from error
        try:
            yield book
        finally:
            book.close()


def _sheet(path: Path, book: Any, wanted: str | None) -> str:
    names = [each.title for each in book.worksheets if each.sheet_state == "visible"]
    if wanted is not None and wanted not in names:
        raise BadFile(f"{path.name}: there is no sheet {wanted!r}; it has {', '.join(names)}.")
    if wanted is None and len(names) != 1:
        raise BadFile(f"{path.name}: say which sheet with --sheet: {', '.join(names) or 'none'}.")
    return wanted or names[0]


def _sheet_rows(table: Table) -> Iterator[tuple[int, Cells | None]]:
    width = len(table.columns)
    with _book(table.path) as book:
        for number, cells in islice(_cells(table.path, book[table.sheet], width + 1), 1, None):
            extra = len(cells) > width and cells[width]
            row = [*cells[:width], *[""] * (width - len(cells))]
            yield number, None if extra else row


def _cells(path: Path, sheet: Any, width: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, by their number; raises BadFile for one that goes back."""
    gaps, expected = 0, 1
    found = sheet.rows_of(width)
    while (row := _next(path, found)) is not None:
        number, values = row
        if number < expected:
            raise BadFile(
                f"{path.name}: row {number} stands behind row {expected - 1}, so rows are out of "
                "order or twice there; save it anew."
            )
        cells = [_text(value) for value in values]
        gaps += number - expected
        expected = number + 1
        if any(cells):
            yield number, cells
        else:
            gaps += 1
        if gaps > _GAPS_MAX:
            raise BadFile(f"{path.name}: more than {_GAPS_MAX:,} empty rows; delete them.")


def _next(path: Path, found: Iterator[tuple[int, Any]]) -> tuple[int, Any] | None:
    try:
        return next(found, None)
    except Exception as error:  # its parser raises what it likes
        raise BadFile(
            f"{path.name}: the sheet cannot be read to its end ({type(error).__name__}); "
            "save it anew."
        ) from error


def _text(value: Any) -> str:
    """Return a cell's value as a person would have typed it."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "TRUE" if value else "FALSE"
        case datetime():
            rounded = value.replace(microsecond=0) + timedelta(seconds=value.microsecond >= 500_000)
            return rounded.strftime("%Y-%m-%d %H:%M:%S")
        case date():
            return value.isoformat()
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case _:
            return str(value)


def _refuse_bomb(path: Path) -> None:
    """Refuse what would unpack to more than it may, or expand while it is parsed."""
    try:
        _refuse_directory(path)
        with zipfile.ZipFile(path) as packed:
            members = packed.infolist()
            _refuse_members(path, members)
            for member in members:
                _refuse_declarations(path, packed, member)
    # A password is zipfile's RuntimeError; so is a compression that it does not know.
    except (zipfile.BadZipFile, EOFError, RuntimeError, OSError) as error:
        raise BadFile(f"{path.name}: the archive is damaged or locked ({error}).") from error


def _refuse_directory(path: Path) -> None:
    """Refuse an archive whose directory alone would fill the memory, before it is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - _TAIL_BYTES))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 16 > len(tail):
        raise zipfile.BadZipFile("its end is missing")
    directory_bytes = int.from_bytes(tail[at + 12 : at + 16], "little")
    if directory_bytes > DIRECTORY_BYTES_MAX or b"PK\x06\x07" in tail[max(0, at - 20) : at]:
        raise BadFile(f"{path.name}: its archive has too many members; that is no workbook.")


def _refuse_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    names = [member.filename for member in members]
    if "[Content_Types].xml" not in names or "xl/workbook.xml" not in names:
        raise BadFile(f"{path.name}: an archive that is no .xlsx workbook; unpack it first.")
    if len(members) > MEMBERS_MAX or len(set(names)) < len(names):
        raise BadFile(f"{path.name}: {len(members):,} members in its archive; that is no workbook.")
    unpacked = sum(member.file_size for member in members)
    if unpacked > UNPACKED_BYTES_MAX:
        raise BadFile(
            f"{path.name}: it unpacks to {unpacked:,} bytes; at most {UNPACKED_BYTES_MAX:,} are "
            "read. Save it as CSV."
        )
    for member in members:
        large = member.file_size > _SMALL_BYTES
        if large and member.file_size > EXPANSION_MAX * max(1, member.compress_size):
            raise BadFile(
                f"{path.name}: {member.filename} unpacks to more than {EXPANSION_MAX} times its "
                "size, as no table does. Save it as CSV."
            )
        if member.filename == "xl/sharedStrings.xml" and member.file_size > TEXTS_BYTES_MAX:
            raise BadFile(f"{path.name}: its texts are too large; save it as CSV.")


def _refuse_declarations(path: Path, packed: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse XML that declares entities, and what claims to be smaller than it is."""
    read, before = 0, b""
    with packed.open(member) as file:
        while chunk := file.read(_CHUNK_BYTES):
            read += len(chunk)
            if read > member.file_size:
                raise BadFile(f"{path.name}: {member.filename} is larger than it claims.")
            seen = before + chunk
            if any(mark in seen for mark in _DECLARATIONS) or (
                not before and chunk.startswith(_WIDE_XML)
            ):
                raise BadFile(f"{path.name}: {member.filename} declares what no table declares.")
            before = seen[-_OVERLAP:]
