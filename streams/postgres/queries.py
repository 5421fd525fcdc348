"""The SQL by name. The `.sql` files beside it hold the statements, each with a sentence."""

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
    found: dict[str, Query] = {}
    for file in files("streams.postgres").iterdir():
        if file.name.endswith(".sql"):
            parts = _NAMED.split(file.read_text(encoding="utf-8"))[1:]
            found |= {
                name: Query(sentence, sql.strip().rstrip(";"))
                for name, sentence, sql in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
            }
    return found


def sql(name: str) -> str:
    """Return the statement called *name*."""
    return queries()[name].sql
