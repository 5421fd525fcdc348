"""
How a command answers: words for people, one JSON object for machines, an exit code for scripts.

With `--json` the last line of stdout is one JSON object, and nothing else stands on stdout that a
machine could take for it. What is said about a failure goes to stderr, in one sentence that says
what to do. Light on purpose: every command imports this, and `--help` must be quick.
"""

import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from streams.settings import Settings

#: The answer is no: a check failed, a thing was not found, a command was refused.
NO = 1
#: The input cannot be used.
BAD_INPUT = 2
#: Somebody ended it in the middle: there is no answer.
INTERRUPTED = 130
#: Something that is needed does not answer now; later it may (EX_TEMPFAIL).
AWAY = 75
#: The installation contradicts itself (EX_CONFIG).
MISCONFIGURED = 78

AsJson = Annotated[
    bool, typer.Option("--json", help="End with one JSON object on the last line of stdout.")
]

T = TypeVar("T")


def examples(*lines: str) -> str:
    """Return the epilog of a command's help."""
    return "\n\n".join(["Examples:", *(f"$ {line}" for line in lines)])


def settings(*, every_line: bool = False, log_file: Path | None = None) -> "Settings":
    """
    Return the installation's settings, with the log set up as they say.

    A command that asks and answers lets only warnings through, and says itself what failed; one
    that runs on logs with *every_line*.
    """
    from streams import logs
    from streams.settings import load

    loaded = load()
    logs.set_up(loaded.log_level if every_line else "warning", log_file)
    if not every_line:
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    return loaded


def run(work: Awaitable[T]) -> T:
    """Run *work* to its end."""
    import asyncio

    async def main() -> T:
        return await work

    return asyncio.run(main())


def answer(facts: Any, *, as_json: bool, words: Callable[["Console"], None]) -> None:
    """Say *facts* as JSON, or let *words* print them for a person."""
    if as_json:
        print_json(facts)
    else:
        words(console())


def print_json(facts: Any) -> None:
    """Print *facts* as one line of JSON."""
    import orjson

    line = orjson.dumps(facts, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS)
    sys.stdout.flush()
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _plain(value: Any) -> Any:
    """Return what orjson does not know in values that it knows."""
    import msgspec

    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return value._asdict()
    return msgspec.to_builtins(value)


def console() -> "Console":
    """Return the terminal, or a plain pipe with lines that are not wrapped."""
    from rich.console import Console

    # What is shown may have brackets in it: they are words and no markup.
    return Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())


def table(title: str, *columns: str) -> "Table":
    """Return an empty table; a column that begins with `#` is a number."""
    from rich import box
    from rich.table import Table

    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        name = column.removeprefix("#")
        made.add_column(
            name, justify="right" if name != column else "left", overflow="fold", no_wrap=False
        )
    return made


def cell(value: Any) -> str:
    """Return *value* as a table's cell: numbers with separators, nothing as a dash."""
    match value:
        case None | "" | [] | ():
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case _ if hasattr(value, "isoformat"):
            return str(value.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00"))
        case _:
            return str(value)


def stop(sentence: str, code: int = NO) -> NoReturn:
    """Say on stderr why there is no better answer, and end with *code*."""
    sys.stdout.flush()
    print(sentence, file=sys.stderr)  # noqa: T201  this is the terminal
    raise typer.Exit(code)


def refuse(facts: Mapping[str, Any], sentence: str, *, as_json: bool, code: int = NO) -> NoReturn:
    """Say no: *facts* for a machine, *sentence* for a person."""
    if as_json:
        print_json(facts)
    stop(sentence, code)
