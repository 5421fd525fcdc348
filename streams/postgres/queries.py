"""The SQL by name. `queries.sql` holds the statements, each with a sentence; this reads them."""

import re
from functools import cache
from importlib.resources import files
from typing import NamedTuple

_NAMED = re.compile(r"^-- name: (\w+)\n-- (.+)\n", re.MULTILINE)


class Query(NamedTuple):
    """One statement and what it is for."""

    sentence: str
    sql: str


@cache
def queries() -> dict[str, Query]:
    """Return every statement under its name."""
    text = (files("streams.postgres") / "queries.sql").read_text(encoding="utf-8")
    parts = _NAMED.split(text)[1:]
    return {
        name: Query(sentence, sql.strip().rstrip(";"))
        for name, sentence, sql in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    }


def sql(name: str) -> str:
    """Return the statement called *name*."""
    return queries()[name].sql
