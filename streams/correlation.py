"""
One id from a platform's message to the ledger: the place of its raw record.

    raw-orders-taobao/3/1207        topic (without the installation's prefix), partition, offset

It is there already wherever anything is written: intake puts it into `ObserveOrder` (its source),
the keepers into each event and letter (`cause`), so into the ledger's trails, and what was parked
on the way in is called by it. Nothing is added to a record for it. Log lines that are about one
message have it in the field `correlation`; a line that is about many has none.
"""

import logging
from typing import Any

FIELD = "correlation"


def place(topic: str, partition: int, offset: int) -> str:
    """Return the id of a record; *topic* as it is declared."""
    return f"{topic}/{partition}/{offset}"


def of(correlation: str) -> dict[str, str]:
    """Return what `logger.info(..., extra=...)` takes, so that the line has the id."""
    return {FIELD: correlation}


def of_command(command: Any) -> str | None:
    """Return the id that a keeper's command carries, if it carries one."""
    source = getattr(command, "source", None)
    cause = getattr(source, "cause", None) or getattr(command, "cause", None)
    return cause if isinstance(cause, str) else None


def is_told(logger: logging.Logger) -> bool:
    """Say whether single messages are logged: at `ORDERFLOW_LOG_LEVEL=debug` only."""
    return logger.isEnabledFor(logging.DEBUG)
