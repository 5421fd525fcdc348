"""
A form with a file in it, read piece by piece: `multipart/form-data`.

Theory of operation. Our forms have their fields first and the file last. So the fields are read and
held, within bounds, up to where the file begins; who sends it, and whether they may, is looked at
then, and the file is taken as it comes, by whoever wants it.

Promise: nothing of the file is held here but the piece that came last, and nothing of it is read
before its fields are known.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from schemas.errors import Rejected

#: All that comes before the file, and the fields there, are never more.
BEFORE_BYTES_MAX: Final = 64 * 1024
FIELDS_MAX: Final = 100


class FormWithFile:
    """The fields of a form, and its file as it comes."""

    def __init__(self, request: Request) -> None:
        self._stream: AsyncIterator[bytes] = request.stream().__aiter__()
        self._pairs: list[tuple[str, str]] = []
        #: Pieces of the file that were met and not yet taken.
        self._pieces: list[bytes] = []
        self._head, self._value, self._name = b"", b"", ""
        self._disposition = b""
        self._held = bytearray()
        self._in_file = self._is_over = False
        #: What the sender calls the file; None: there is none.
        self.file_name: str | None = None
        self._parser = self._parser_of(request)

    def _parser_of(self, request: Request) -> MultipartParser:
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 0 < len(boundary) <= 70:
            raise Rejected("not_a_form")
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": self._of_head,
                "on_header_value": self._of_value,
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._of_part,
                "on_part_end": self._part_ends,
                "on_end": self._ends,
            },
        )

    async def pairs(self) -> list[tuple[str, str]]:
        """Read up to where the file begins, and return the fields; raises Rejected."""
        read = 0
        async for piece in self._stream:
            read += len(piece)
            self._feed(piece)
            if self.file_name is not None:
                break
            if read > BEFORE_BYTES_MAX:
                raise Rejected("too_long")
        return self._pairs

    async def file(self) -> AsyncGenerator[bytes, None]:
        """Yield the file as it comes; raises Rejected where it is cut short."""
        while self._pieces:
            yield self._pieces.pop(0)
        async for piece in self._stream:
            self._feed(piece)
            while self._pieces:
                yield self._pieces.pop(0)
        if not self._is_over:
            raise Rejected("not_a_form")

    def _feed(self, piece: bytes) -> None:
        try:
            self._parser.write(piece)
        except (FormParserError, UnicodeError) as error:
            raise Rejected("not_a_form") from error

    # --- what the parser tells --------------------------------------------------------------------

    def _part_begins(self) -> None:
        if self.file_name is not None or len(self._pairs) >= FIELDS_MAX:
            # The file is the last part: what comes behind was not there when it was judged.
            raise Rejected("not_a_form")
        self._head = self._value = self._disposition = b""
        self._held.clear()

    def _of_head(self, data: bytes, start: int, end: int) -> None:
        self._head = self._bounded(self._head, data[start:end])

    def _of_value(self, data: bytes, start: int, end: int) -> None:
        self._value = self._bounded(self._value, data[start:end])

    @staticmethod
    def _bounded(before: bytes, more: bytes) -> bytes:
        if len(before) + len(more) > BEFORE_BYTES_MAX:
            raise Rejected("too_long")
        return before + more

    def _header_ends(self) -> None:
        if self._head.lower() == b"content-disposition":
            self._disposition = self._value
        self._head = self._value = b""

    def _headers_end(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise Rejected("not_a_form")
        self._name = options[b"name"].decode()
        if b"filename" in options:
            self.file_name = options[b"filename"].decode()
            self._in_file = True

    def _of_part(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._in_file:
            self._pieces.append(piece)
        elif len(self._held) + len(piece) > BEFORE_BYTES_MAX:
            raise Rejected("too_long")
        else:
            self._held += piece

    def _part_ends(self) -> None:
        if self._in_file:
            self._in_file = False
        else:
            self._pairs.append((self._name, self._held.decode()))

    def _ends(self) -> None:
        self._is_over = True
