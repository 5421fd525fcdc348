"""
The log: sentences for a person at a terminal, JSON lines for a machine anywhere else.

Promise: no phone number, e-mail address or secret leaves through the log, whoever logs it and in
whatever field. One processor masks all of them, and it is the last before rendering. A library
that says the same thing over and over is heard a few times and then counted. Log to stderr: stdout
belongs to a command's answer.
"""

import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import structlog

from schemas.errors import Misconfigured
from streams.correlation import FIELD
from streams.masking import HIDDEN, SECRET_NAMES, masked

#: One line an event is enough; these have a line for every step of every round trip.
CHATTY = ("aiokafka", "kafka", "faust", "mode", "asyncio", "alembic", "opentelemetry", "urllib3")
#: A sentence of theirs is shown so often within so many seconds; while a broker is down aiokafka
#: has the same three for every connection, every 100 ms.
ALIKE_MAX = 5
ALIKE_WITHIN_S = 10.0
#: Sentences that are told apart; beyond it counting begins anew.
_SENTENCES_MAX = 1_000
_LEVELS = ("debug", "info", "warning", "error", "critical")


def mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Hide in every field of *event* what must not be logged (a structlog processor)."""
    return {name: _hidden(name, value) for name, value in event.items()}


def _hidden(name: str, value: Any) -> Any:
    if value is not None and SECRET_NAMES.search(name):
        return HIDDEN
    match value:
        case str():
            return masked(value)
        case bytes():
            return f"<{len(value)} bytes>"
        case Mapping():
            return {key: _hidden(str(key), inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_hidden("", inner) for inner in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return masked(str(value))


class Calm(logging.Filter):
    """Lets a chatty library say one sentence a few times a while, and then how often it did."""

    def __init__(self) -> None:
        super().__init__()
        #: Logger and sentence, before its values are put in -> since when, shown, left out.
        self._said: dict[tuple[str, str], tuple[float, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether *record* is shown."""
        if record.name.split(".", 1)[0] not in CHATTY or record.levelno >= logging.CRITICAL:
            return True
        if len(self._said) > _SENTENCES_MAX:
            self._said.clear()
        sentence, now = (record.name, str(record.msg)), time.monotonic()
        since, shown, left_out = self._said.get(sentence, (now, 0, 0))
        if now > since + ALIKE_WITHIN_S:
            if left_out:
                record.msg = f"{record.msg} (and {left_out} more like it)"
            since, shown, left_out = now, 0, 0
        if shown >= ALIKE_MAX:
            self._said[sentence] = (since, shown, left_out + 1)
            return False
        self._said[sentence] = (since, shown + 1, left_out)
        return True


def set_up(level: str = "info", file: Path | None = None) -> None:
    """Send all that is logged, ours and the libraries', masked to stderr or to *file*."""
    if level.lower() not in _LEVELS:
        raise Misconfigured(
            f"Set ORDERFLOW_LOG_LEVEL to one of {', '.join(_LEVELS)}; it is {level!r}."
        )
    before: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.FileHandler(file, encoding="utf-8") if file else logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*before, structlog.stdlib.ExtraAdder(allow=[FIELD])],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                mask,
                _renderer(terminal=file is None and sys.stderr.isatty()),
            ],
        )
    )
    handler.addFilter(Calm())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(max(root.level, logging.WARNING))


def _renderer(*, terminal: bool) -> structlog.types.Processor:
    if terminal:
        return structlog.dev.ConsoleRenderer()
    return structlog.processors.JSONRenderer()
