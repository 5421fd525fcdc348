"""
What is shown of one exception, at the command line and over HTTP alike.

Promise: without the right to see it, nothing of the original bytes is shown that is personal: not
in the message, not in its corrections, not in a reason that quotes it.
"""

from typing import Any

from streams.exceptions.queue import Row, doubt
from streams.masking import reason, shown

_HIDDEN_COLUMNS = frozenset({"key", "value", "edited", "changes", "reason", "record_offset"})


def facts(row: Row, *, whole: bool) -> Row:
    """Return *row* to be shown: with the bytes as they are where *whole*, else masked."""
    said = _text if whole else shown
    return {
        **{name: value for name, value in row.items() if name not in _HIDDEN_COLUMNS},
        "reason": row["reason"] if whole else _reason(row),
        "offset": row["record_offset"],
        "bytes": len(row["value"]),
        "value": said(row["value"]),
        "edited": None if row["edited"] is None else said(row["edited"]),
        "changes": [_change(each, said) for each in row["changes"]],
        "retry": _retry(row),
    }


def line(row: Row, *, whole: bool) -> Row:
    """Return *row* of a list to be shown."""
    return row if whole else {**row, "reason": _reason(row)}


def _reason(row: Row) -> str:
    return reason(row["reason"], row["field"] or "", row["cause"])


def _change(change: Row, said: Any) -> Row:
    return {
        name: said(value) if name in ("before", "after") and value is not None else value
        for name, value in change.items()
        if value is not None
    }


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "replace")


def _retry(row: Row) -> str:
    if row["settled_at"] is not None:
        return f"{row['settled_as']} by {row['settled_by']} already"
    return doubt(row) or "possible"
