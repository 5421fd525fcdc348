"""
A workbook as openpyxl opens it to be read row by row, without two things that it does for others.

A sheet is not asked for its size: nobody here believes what it says, and one that says nothing is
read from one end to the other to find out, each time it is opened. And the text of a cell that
stands in the cell itself, as many exports write it, is taken as it is; openpyxl makes an object
with fonts and phonetic runs of each, which is two fifths of the time a sheet takes.

Promise: what a cell says is what openpyxl says that it says (tests/rules/test_import_files.py).
"""

from collections.abc import Iterator
from typing import IO, Any

from openpyxl.reader.excel import ExcelReader
from openpyxl.worksheet._read_only import ReadOnlyWorksheet
from openpyxl.worksheet._reader import INLINE_STRING, VALUE_TAG, WorkSheetParser
from openpyxl.xml.constants import SHEET_MAIN_NS
from typing_extensions import override

_TEXT_TAG = f"{{{SHEET_MAIN_NS}}}t"


def opened(file: IO[bytes]) -> Any:
    """Return the workbook in *file*, to be closed. Raises whatever openpyxl's parser raises."""
    reader = _Reader(file, read_only=True, data_only=True, keep_links=False)
    reader.read()
    return reader.wb


class _Parser(WorkSheetParser):  # type: ignore[misc]  # openpyxl has no types
    @override
    def parse_cell(self, element: Any) -> Any:
        if element.get("t") == "inlineStr":
            said = element.find(INLINE_STRING)
            if said is not None and len(said) == 1 and said[0].tag == _TEXT_TAG:
                # As the text that a formula has made stands in its cell.
                said[0].tag = VALUE_TAG
                element[:] = [said[0]]
                element.set("t", "str")
        return super().parse_cell(element)


class _Sheet(ReadOnlyWorksheet):  # type: ignore[misc]  # openpyxl has no types
    @override
    def _get_size(self) -> None:
        """Leave it open."""

    def rows_of(self, width: int) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Yield the values of each row that is there, with its number; at most *width* a row."""
        book = self.parent
        with self._get_source() as source:
            parser = _Parser(
                source,
                self._shared_strings,
                data_only=True,
                epoch=book.epoch,
                date_formats=book._date_formats,  # noqa: SLF001  as its own sheets do
                timedelta_formats=book._timedelta_formats,  # noqa: SLF001
            )
            for number, cells in parser.parse():
                yield number, self._get_row(cells, 1, width, values_only=True)


class _Reader(ExcelReader):  # type: ignore[misc]  # openpyxl has no types
    @override
    def read_worksheets(self) -> None:
        for sheet, rel in self.parser.find_sheets():
            if rel.target not in self.valid_files:
                continue
            if "chartsheet" in rel.Type:
                self.read_chartsheet(sheet, rel)
                continue
            made = _Sheet(self.wb, sheet.name, rel.target, self.shared_strings)
            made.sheet_state = sheet.state
            self.wb._sheets.append(made)  # noqa: SLF001  as openpyxl does
