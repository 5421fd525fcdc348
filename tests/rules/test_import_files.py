"""Files of every kind: what can be used is read, the rest is refused in one sentence."""

import gzip
import io
import zipfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import openpyxl
import pytest

from streams.importing import files, workbook
from streams.importing.files import BadFile, opened, rows

HEADER = ("订单编号", "订单状态")
ROW = ("1001", "交易成功")
TEXT = ",".join(HEADER) + "\r\n" + ",".join(ROW) + "\r\n"


def a_file(folder: Path, content: bytes, name: str = "orders.csv") -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def a_workbook(folder: Path, *table: Sequence[object], sheets: Sequence[str] = ("orders",)) -> Path:
    book = openpyxl.Workbook(write_only=True)
    for name in sheets:
        sheet = book.create_sheet(name)
        for row in table:
            sheet.append(row)
    file = folder / "orders.xlsx"
    book.save(file)
    return file


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (TEXT.encode(), None),
        (TEXT.encode("utf-8-sig"), None),
        (TEXT.encode("utf-16"), None),  # its mark says which way round
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), None),
        (TEXT.encode("gb18030"), "gb18030"),
        (TEXT.encode("utf-16-le"), "utf-16-le"),
        (TEXT.encode("utf-8-sig"), "utf-8"),
        (TEXT.replace(",", "\t").encode("utf-16"), None),  # what Excel calls Unicode text
        (TEXT.replace(",", ";").encode(), None),
    ],
)
def test_a_table_is_read_in_every_encoding_that_is_proved_or_named(tmp_path, content, named):
    table = opened(a_file(tmp_path, content), named, None)

    assert table.columns == HEADER
    assert list(rows(table)) == [(2, list(ROW))]


def test_gb18030_is_shown_and_confirmed_but_never_guessed(tmp_path: Path):
    with pytest.raises(BadFile, match=r"订单编号,订单状态.*--encoding gb18030"):
        opened(a_file(tmp_path, TEXT.encode("gb18030")), None, None)


@pytest.mark.parametrize(
    ("content", "named", "sentence"),
    [
        (TEXT.encode("utf-16-le"), None, "--encoding utf-16-le"),
        (TEXT.encode(), "gb18030", "no gb18030"),
        (TEXT.encode("utf-16"), "gb18030", "byte order mark"),
        (b"\xff\xff\xff,\xff\n", None, "neither UTF-8 nor GB18030"),
        (b"order_id\n\xff\xff", "gb18030", "no gb18030"),
        (TEXT.encode(), "klingon", "no encoding 'klingon'"),
        (b"order_id,status\n1,a\0b\n", None, "NUL"),
        (b"", None, "empty"),
        (b" \n\n", None, "nothing in it"),
        (b"\xef\xbb\xbf", None, "nothing in it"),
        (b'[{"platform_order_id":"1"}]', None, "without the brackets"),
        (b"<html><table><tr><td>1</td></tr></table></html>", None, "web page"),
        (gzip.compress(b"order_id\n1\n", mtime=0), None, "unpack it first"),
        (b"%PDF-1.7", None, "PDF"),
        (b"\x89PNG\r\n\x1a\n", None, "picture"),
        (b"\x7fELF\x02", None, "program"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", None, "save it as .xlsx"),
        (b"order_id,order_id\n1,2\n", None, "twice"),
        (b"order_id,,status\n1,2,3\n", None, "name every column"),
        (("," * 400).join("ab").encode() + b"\n", None, "columns"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, content, named, sentence):
    file = a_file(tmp_path, content)

    with pytest.raises(BadFile, match=sentence):
        opened(file, named, None)


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path, monkeypatch):
    with pytest.raises(BadFile, match="no such file"):
        opened(tmp_path / "nothing.csv", None, None)
    monkeypatch.setattr(files, "FILE_BYTES_MAX", 10)
    with pytest.raises(BadFile, match="at most 10 are read"):
        opened(a_file(tmp_path, TEXT.encode()), None, None)


def test_an_open_quote_is_found_and_a_row_with_another_number_of_cells_is_that_row_alone(tmp_path):
    table = opened(a_file(tmp_path, b'a,b\n1,2\n1,2,3\n\n4\n5,6,\n"x\ny",7\n'), None, None)
    assert list(rows(table)) == [
        (2, ["1", "2"]), (3, None), (5, None), (6, ["5", "6"]), (7, ["x\ny", "7"]),
    ]  # fmt: skip

    with pytest.raises(BadFile, match="no CSV"):
        list(rows(opened(a_file(tmp_path, b'a,b\n1,"2\n3,4\n'), None, None)))


def test_more_rows_than_are_read_are_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(files, "ROWS_MAX", 2)
    table = opened(a_file(tmp_path, b"a\n1\n2\n3\n"), None, None)

    with pytest.raises(BadFile, match="cut it in two"):
        list(rows(table))


# --- spreadsheets ---------------------------------------------------------------------------------


def test_a_spreadsheet_is_read_as_a_person_would_type_it(tmp_path: Path):
    placed = datetime(2026, 11, 11, 0, 5)  # noqa: DTZ001  a spreadsheet's time has no zone
    table = opened(
        a_workbook(
            tmp_path,
            ["order_id", "n", "price", "at", "empty", "yes"],
            ["2771944107739206615", 3, 12.5, placed, None, True],
            [],
            [1001.0, 2.0, "12.50", "2026-11-11 00:05:00", "", False],
        ),
        None,
        None,
    )

    assert table.columns == ("order_id", "n", "price", "at", "empty", "yes")
    assert list(rows(table)) == [
        (2, ["2771944107739206615", "3", "12.5", "2026-11-11 00:05:00", "", "TRUE"]),
        (4, ["1001", "2", "12.50", "2026-11-11 00:05:00", "", "FALSE"]),
    ]


def test_an_id_that_the_spreadsheet_has_rounded_shows_that_it_has(tmp_path: Path):
    table = opened(a_workbook(tmp_path, ["order_id"], [2.771944107739206e18]), None, None)

    assert list(rows(table)) == [(2, ["2.771944107739206e+18"])]


def test_of_several_sheets_one_has_to_be_named(tmp_path: Path):
    file = a_workbook(tmp_path, ["order_id"], ["1"], sheets=("orders", "notes"))

    with pytest.raises(BadFile, match="say which sheet with --sheet: orders, notes"):
        opened(file, None, None)
    with pytest.raises(BadFile, match="no sheet 'x'"):
        opened(file, None, "x")
    assert opened(file, None, "orders").columns == ("order_id",)


def repacked(file: Path, change: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    """The workbook with other members."""
    with zipfile.ZipFile(file) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(file, "w", method) as packed:
        for name, content in (members | change).items():
            packed.writestr(name, content)
    return file


SHEET = "xl/worksheets/sheet1.xml"
CELLS = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;">]>'
)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({SHEET: b"<a>" + b" " * 200_000_000}, "times its size"),
        ({f"xl/media/{n}.xml": b"\0" * 900_000 for n in range(500)}, "unpacks to"),
        ({"xl/sharedStrings.xml": LAUGHS + b"<sst>&b;</sst>"}, "declares"),
        ({SHEET: LAUGHS + CELLS}, "declares"),
        ({SHEET: LAUGHS.decode().encode("utf-16")}, "declares"),
        ({f"xl/{n}.xml": b"" for n in range(3_000)}, "members in its archive"),
        ({f"xl/{n}.xml": b"" for n in range(30_000)}, "too many members"),
        ({SHEET: b"<worksheet"}, "can(not)? be read"),
        ({"xl/workbook.xml": b"not xml"}, "no spreadsheet that can be read"),
    ],
    ids=[
        "ratio",
        "size",
        "entities",
        "entities-sheet",
        "wide",
        "members",
        "directory",
        "cut",
        "foul",
    ],
)
def test_a_bomb_is_refused_before_it_is_opened(tmp_path: Path, change, sentence):
    file = repacked(a_workbook(tmp_path, ["order_id"], ["1"]), change)

    with pytest.raises(BadFile, match=sentence):
        list(rows(opened(file, None, None)))


def test_an_archive_that_is_no_workbook_is_not_unpacked(tmp_path: Path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("orders.csv", b"0" * 50_000_000)
    for content, sentence in (
        (inner.getvalue(), "no .xlsx workbook"),
        (inner.getvalue()[:-40], "damaged"),
        (b"PK\x05\x06" + bytes(18), "archive"),
    ):
        with pytest.raises(BadFile, match=sentence):
            opened(a_file(tmp_path, content, "orders.zip"), None, None)


def test_a_workbook_that_claims_to_be_larger_or_smaller_than_it_is_is_read_by_its_cells(tmp_path):
    claims = CELLS.replace(b"<sheetData>", b'<dimension ref="A1:XFD1048576"/><sheetData>')
    told = claims + (
        b'<row r="1"><c r="A1" t="inlineStr"><is><t>order_id</t></is></c></row>'
        b'<row r="3"><c r="A3" t="inlineStr"><is><t>1001</t></is></c></row></sheetData></worksheet>'
    )
    file = repacked(a_workbook(tmp_path, ["order_id"]), {SHEET: told})

    table = opened(file, None, None)

    assert list(rows(table)) == [(3, ["1001"])]


def test_a_sheet_whose_last_row_is_far_away_is_refused_within_bounds(tmp_path: Path):
    far = CELLS + b"".join(
        b'<row r="%d"><c r="A%d" t="inlineStr"><is><t>x</t></is></c></row>' % (n, n)
        for n in (1, 1_048_576)
    )
    file = repacked(a_workbook(tmp_path, ["order_id"]), {SHEET: far + b"</sheetData></worksheet>"})

    with pytest.raises(BadFile, match="empty rows"):
        list(rows(opened(file, None, None)))


KINDS = (
    b'<c t="inlineStr"><is><t>plain &amp; simple</t></is></c>',
    b'<c t="inlineStr"><is><t xml:space="preserve"> blanks </t></is></c>',
    b'<c t="inlineStr"><is><t></t></is></c>',
    b'<c t="inlineStr"><is></is></c>',
    b'<c t="inlineStr"/>',
    b'<c t="inlineStr"><is><r><rPr><b/></rPr><t>two </t></r><r><t>runs</t></r></is></c>',
    "<c t='inlineStr'><is><t>東京</t><rPh sb='0' eb='2'><t>とうきょう</t></rPh></is></c>".encode(),
    b'<c t="inlineStr"><f>A1</f><is><t>of a formula</t></is></c>',
    b"<c><v>340188004771922012</v></c>",
    b"<c><v>12.50</v></c>",
    b'<c t="b"><v>1</v></c>',
    b'<c t="str"><f>A1</f><v>made</v></c>',
    b'<c t="d"><v>2026-11-11T00:05:00</v></c>',
    b'<c t="e"><v>#DIV/0!</v></c>',
    b"<c/>",
)


def test_a_cell_says_here_what_openpyxl_says_that_it_says(tmp_path: Path):
    sheet = CELLS + b'<row r="1">' + b"".join(KINDS) + b"</row>"
    sheet += b'<row r="3">' + KINDS[0] + b"</row><row>" + KINDS[5] + b"</row>"
    file = repacked(a_workbook(tmp_path, ["x"]), {SHEET: sheet + b"</sheetData></worksheet>"})
    theirs = openpyxl.load_workbook(file, read_only=True, data_only=True)
    theirs.worksheets[0].reset_dimensions()
    wanted = list(theirs.worksheets[0].iter_rows(max_col=len(KINDS), values_only=True))
    theirs.close()

    with file.open("rb") as bytes_:
        book = workbook.opened(bytes_)
        found = dict(book.worksheets[0].rows_of(len(KINDS)))
        book.close()

    assert wanted[0][0] == "plain & simple"
    assert wanted[0][5:7] == ("two runs", "東京")
    for number, row in enumerate(wanted, 1):
        here = found.get(number, (None,) * len(KINDS))
        # A text without a character and no text are the same to whoever reads a table.
        assert [each or None for each in here] == [each or None for each in row], number


@pytest.mark.parametrize("numbers", [(1, 3, 2, 4), (1, 2, 2, 3)])
def test_a_row_that_goes_back_is_refused_because_passing_it_over_would_lose_it(
    numbers: tuple[int, ...], tmp_path: Path
):
    cells = b"".join(
        b'<row r="%d"><c t="inlineStr"><is><t>x%d</t></is></c></row>' % (n, n) for n in numbers
    )
    file = repacked(
        a_workbook(tmp_path, ["x"]), {SHEET: CELLS + cells + b"</sheetData></worksheet>"}
    )

    with pytest.raises(BadFile, match=r"row 2 stands behind row [23], .* save it anew"):
        list(rows(opened(file, None, None)))
