"""Commands about figures: bring them up to date, compare them with the orders, report a day."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.answers import (
    BAD_INPUT,
    AsJson,
    answer,
    examples,
    refuse,
    run,
    settings,
    stop,
    table,
)
from streams.postgres.addresses import operations_of, reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from datetime import date

    from streams.figures.reports import Written
    from streams.figures.restating import Checked, Restated

#: Differences that are shown to a person; --json has all.
_SHOWN_MAX = 20

figures = typer.Typer(
    help="What orders come to, as it is kept for pages and reports.",
    epilog=examples("orderflow figures restate", "orderflow figures check"),
    no_args_is_help=True,
)
report = typer.Typer(
    help="Reports that are kept.",
    epilog=examples("orderflow report daily", "orderflow report daily --day 2026-11-11"),
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(figures, name="figures", rich_help_panel="Look")
    app.add_typer(report, name="report", rich_help_panel="Operate")


@figures.command(
    "restate",
    epilog=examples("orderflow figures restate", "orderflow figures restate --all --json"),
)
def restate(
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Count everything anew, not only what was written since.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Count anew what was written since; the console does it by itself, every ten seconds."""
    from streams.figures.restating import restate as count
    from streams.figures.upkeep import clocks_now

    loaded = settings()
    dsn, zone = operations_of(loaded), loaded.company_zone

    async def work(say: "Callable[[int, int], None]") -> "Restated":
        return await count(dsn, await clocks_now(loaded), zone, say, everything=everything)

    with _progress() as say:
        done = run(work(say))
    answer(
        {"ok": True, **done._asdict()},
        as_json=as_json,
        words=lambda to: to.print(
            f"{done.touched:,} orders were written since; {done.chunks:,} shop hours counted anew."
        ),
    )


@figures.command(
    "check",
    epilog=examples("orderflow figures check", "orderflow figures check --since 2026-11-01 --json"),
)
def check(
    *,
    since: Annotated[
        str | None, typer.Option("--since", help="Only orders received on this day (UTC) or later.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Count all orders again and compare; exit 1 where a figure is not what they come to."""
    from datetime import UTC, datetime, time

    from streams.figures.restating import check as compare

    loaded = settings()
    first = None if since is None else datetime.combine(_day("--since", since), time(), UTC)
    with _progress() as say:
        found = run(compare(reader_of(loaded), first, say))
    facts = {"ok": not found.differences, **found._asdict()}
    if found.differences:
        if not as_json:
            _show(found)
        refuse(
            facts,
            f"{len(found.differences):,} figures are not what the orders come to; "
            "`orderflow figures restate --all` counts everything anew.",
            as_json=as_json,
        )
    answer(
        facts,
        as_json=as_json,
        words=lambda to: to.print(
            f"The figures of {found.chunks:,} shop hours are what the orders come to; "
            f"not compared, because they are to be counted anew: {found.behind:,}."
        ),
    )


def _show(found: "Checked") -> None:
    from streams.cli.answers import console

    shown = table("Differences", "what", "platform", "shop", "at", "kept", "orders")
    for each in found.differences[:_SHOWN_MAX]:
        shown.add_row(*each)
    console().print(shown)


@report.command(
    "daily",
    epilog=examples(
        "orderflow report daily   (at 02:00, by cron)",
        "orderflow report daily --day 2026-11-11 --json",
    ),
)
def daily(
    *,
    day: Annotated[
        str | None, typer.Option("--day", help="Of this day alone, such as 2026-11-11.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what yesterday was, and the days an outage left out; restate what changed since."""
    from datetime import UTC, datetime

    from streams.figures.clocks import check_zone
    from streams.figures.reports import write_due
    from streams.figures.upkeep import clocks_now

    loaded = settings()
    check_zone(loaded.company_zone, "ORDERFLOW_COMPANY_ZONE")
    dsn, zone = operations_of(loaded), loaded.company_zone
    only = None if day is None else _day("--day", day)

    async def work(say: "Callable[[int, int], None]") -> "list[Written]":
        return await write_due(
            dsn, await clocks_now(loaded), zone, datetime.now(UTC), say, only=only
        )

    with _progress() as say:
        written = run(work(say))
    facts = {"ok": True, "days": [each._asdict() for each in written]}
    lines = [f"{each.day}: {each.outcome}, version {each.version}" for each in written]
    answer(
        facts,
        as_json=as_json,
        words=lambda to: to.print("\n".join(lines) or "Nothing new since the last report."),
    )


def _day(option: str, said: str) -> "date":
    from datetime import date

    try:
        return date.fromisoformat(said)
    except ValueError:
        stop(f"{option} {said!r} is no day such as 2026-11-11.", BAD_INPUT)


@contextmanager
def _progress() -> "Iterator[Callable[[int, int], None]]":
    """Tell on the terminal how far a count is."""
    from rich.console import Console

    with Console(stderr=True).status("looking") as status:
        yield lambda done, left: status.update(f"shop hours: {done:,}, {left:,} to go")
