"""The command that tries another version of an adapter over everything on its raw topic."""

from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.answers import NO, AsJson, answer, cell, console, examples, run, settings, table

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from streams.replay import Replayed


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        "replay",
        epilog=examples(
            "orderflow replay --platform taobao --adapter-version 2 --diff",
            "orderflow replay --platform taobao --adapter-version 2 --json | tail -1",
        ),
        rich_help_panel="Look",
    )(replay)


def replay(
    *,
    platform: Annotated[str, typer.Option("--platform", help="Whose raw topic, such as taobao.")],
    version: Annotated[
        int | None,
        typer.Option("--adapter-version", min=1, help="Which version; the newest if not given."),
    ] = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show what would change, by order and field.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show at most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Read the raw topic with another version, send nothing; exit code 1 where they differ."""
    from streams import replay as trying

    found = run(trying.replay(settings(), platform, version))
    shown = found.differences[:limit] if diff else []
    answer(
        {"ok": not found.differ, **found._asdict(), "differences": shown},
        as_json=as_json,
        words=lambda _: _show(found, limit, diff=diff),
    )
    if found.differ:
        raise typer.Exit(NO)


def _show(found: "Replayed", limit: int, *, diff: bool) -> None:
    to = console()
    if diff and found.differences:
        shown = table("What would change", "order", "field", "now", "then", "raw message")
        for each in found.differences[:limit]:
            shown.add_row(cell(each.order), each.field, cell(each.now), cell(each.then), each.place)
        to.print(shown)
    to.print(
        f"{found.platform}/{found.then} beside {found.platform}/{found.now}, "
        f"{found.messages:,} messages: {found.same:,} the same, {found.differ:,} differ."
    )
    for field, count in found.fields.items():
        to.print(f"  {field}: {count:,}")
