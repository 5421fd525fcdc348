"""The command that asks platforms for orders."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import (
    NO,
    AsJson,
    console,
    examples,
    print_json,
    run,
    settings,
    table,
)

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from streams.polling.poller import Turn
    from streams.polling.subscribing import Checked
    from streams.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(
        "poll",
        epilog=examples(
            "ORDERFLOW_SHOPS_FILE=shops.toml orderflow poll",
            "orderflow poll --only taobao --only shopify/jsmith",
            "orderflow poll --once --json",
            "orderflow poll --status",
            "kill -HUP PID   (reads the credentials again)",
        ),
        rich_help_panel="Run",
    )(poll)


def poll(
    *,
    once: Annotated[bool, typer.Option("--once", help="One turn of each shop, then end.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="A platform, or platform/shop; may be given again."),
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Say how far each shop was read; asks no platform.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask platforms for what was modified, and for orders only named so far, until SIGTERM."""
    loaded = settings(every_line=not (once or status))
    if status:
        _show(run(_status(loaded)), as_json=as_json)
        return
    from streams.polling import serving

    chosen = serving.choose(loaded, only or [])
    if not once:
        run(serving.serve(loaded, chosen, _logged))
        return
    turns = run(serving.once(loaded, chosen, _quiet if as_json else _said))
    facts = [_facts(*turn) for turn in turns]
    ok = all(fact["ended"] == "done" for fact in facts)
    if as_json:
        print_json({"ok": ok, "shops": facts})
    raise typer.Exit(0 if ok else NO)


async def _status(loaded: "Settings") -> dict[str, Any]:
    from streams.polling.store import Store

    store = Store(loaded)
    try:
        return {
            "cursors": await store.cursors(),
            "fetches": await store.waiting(),
        }
    finally:
        await store.close()


def _show(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    from streams.cli.answers import cell

    to = console()
    for title, rows, columns in (
        ("Read up to", facts["cursors"], ("platform", "shop", "through", "moved_at")),
        ("To be fetched", facts["fetches"], ("platform", "shop", "#waiting", "oldest")),
    ):
        made = table(title, *columns)
        for row in rows:
            made.add_row(*(cell(row[column.removeprefix("#")]) for column in columns))
        to.print(made)


def _facts(turn: "Turn", checked: "Checked | None") -> dict[str, Any]:
    from datetime import UTC, datetime

    through = turn.through_ms
    return {
        "platform": turn.platform,
        "shop": turn.shop,
        "ended": str(turn.ended),
        "orders": turn.orders,
        "windows": turn.windows,
        "through": None if through is None else datetime.fromtimestamp(through / 1000, UTC),
        "why": turn.why,
        "subscriptions": checked
        and {
            "health": str(checked.health),
            "gaps": {gap.topic: gap.why for gap in checked.gaps},
            "why": checked.why,
        },
    }


def _sentence(turn: "Turn", checked: "Checked | None") -> str:
    said = f"{turn.platform}/{turn.shop}: {turn.orders} orders in {turn.windows} windows"
    if turn.why:
        said += f"; {turn.ended}: {turn.why}"
    return f"{said}; {checked.sentence}" if checked and checked.sentence else said


def _quiet(*_: object) -> None:
    return


def _said(turn: "Turn", checked: "Checked | None") -> None:
    console().print(_sentence(turn, checked), markup=False)


def _logged(turn: "Turn", checked: "Checked | None") -> None:
    import logging

    log = logging.getLogger(__name__)
    (log.warning if turn.why else log.info)("%s", _sentence(turn, checked))
