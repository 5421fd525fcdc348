"""The command that hears silence: channels that say nothing against their usual rate."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.answers import (
    NO,
    AsJson,
    answer,
    cell,
    console,
    examples,
    print_json,
    run,
    settings,
    table,
)
from streams.postgres.addresses import reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from datetime import datetime

    from agents.silence import Verdict

logger = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        "silence",
        epilog=examples(
            "orderflow silence", "orderflow silence --json | tail -1   (exit code 1: one is silent)"
        ),
        rich_help_panel="Look",
    )(silence)


def silence(
    *,
    at: Annotated[str, typer.Option("--at", help="As of this time, with its zone; else now.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say which channels are silent against their usual rate; exit code 1 if any is."""
    from datetime import UTC, datetime

    from streams.cli.answers import BAD_INPUT, stop
    from streams.clock import now_ms
    from streams.mapping.files import instant

    try:
        as_of = instant(at)
    except ValueError as error:
        stop(f"{error}.", BAD_INPUT)
    now = datetime.fromtimestamp((now_ms() if as_of is None else as_of) / 1000, UTC)
    found = run(_judged(reader_of(settings()), now))
    silent = [each for each in found if each.state == "silent"]
    for each in silent:
        logger.error(
            "%s shop %s is silent: %d minutes without an order, %.0f were to be expected",
            each.platform, each.shop, each.silent_s // 60, each.expected,
        )  # fmt: skip
    if as_json:
        print_json({"ok": not silent, "silent": len(silent), "channels": found})
    else:
        answer(None, as_json=False, words=lambda _: _show(found))
    if silent:
        raise typer.Exit(NO)


async def _judged(dsn: str, now: "datetime") -> "list[Verdict]":
    from datetime import timedelta

    from agents.silence import WEEKS, Hour, judged
    from streams.postgres.connecting import connected
    from streams.postgres.queries import sql

    async with connected(dsn, name="orderflow-silence") as connection:
        rows = await connection.fetch(
            sql("orders_by_channel_and_hour"), now - timedelta(weeks=WEEKS + 1), now
        )
    return judged((Hour(*row) for row in rows), now)


def _show(found: "list[Verdict]") -> None:
    to = console()
    if not found:
        to.print("No channel had an order in the last weeks.")
        return
    shown = table(
        "Channels",
        "platform",
        "shop",
        "state",
        "last order (UTC)",
        "#minutes ago",
        "#expected since",
    )
    for each in found:
        shown.add_row(
            each.platform, each.shop, each.state, cell(each.last_at),
            cell(int(each.silent_s // 60)), cell(each.expected),
        )  # fmt: skip
    to.print(shown)
