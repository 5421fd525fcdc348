"""Commands that pause intake of a shop and resume it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import (
    AsJson,
    answer,
    cell,
    console,
    examples,
    refuse,
    run,
    settings,
    table,
)
from streams.cli.operating import Operator, Reason, who
from streams.postgres.addresses import operations_of, reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from streams.settings import Settings

intake = typer.Typer(
    help="Pause what comes of a shop, and resume it.",
    epilog=examples(
        "orderflow intake pause douyin shanjiao --reason 'wrong prices'",
        "orderflow intake resume douyin shanjiao --reason 'prices are right'",
    ),
    no_args_is_help=True,
)

Platform = Annotated[str, typer.Argument(help="Such as douyin.", metavar="PLATFORM")]
Shop = Annotated[str, typer.Argument(help="The shop, as in the reference data.", metavar="SHOP")]
#: How often it is looked whether all is read.
_LOOK_S = 0.5


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(intake, name="intake", rich_help_panel="Operate")


@intake.command(
    "pause", epilog=examples("orderflow intake pause douyin shanjiao --reason 'wrong prices'")
)
def pause(
    platform: Platform,
    shop: Shop,
    *,
    reason: Reason,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Set aside what comes of a shop from now on; its webhooks are still taken, and wait."""
    from streams.pausing import table as pauses

    loaded = settings()
    try:
        made = run(
            pauses.pause(loaded, operations_of(loaded), platform, shop, who(operator), reason)
        )
    except pauses.AsItIs as error:
        refuse({"ok": False, "platform": platform, "shop": shop}, str(error), as_json=as_json)
    answer(
        {"ok": True, "id": made.id, "platform": platform, "shop": shop},
        as_json=as_json,
        words=lambda to: to.print(
            f"Paused. What comes of {platform} shop {shop} waits until "
            f"`orderflow intake resume {platform} {shop}`.",
            markup=False,
        ),
    )


@intake.command(
    "resume",
    epilog=examples("orderflow intake resume douyin shanjiao --reason 'prices are right'"),
)
def resume(
    platform: Platform,
    shop: Shop,
    *,
    reason: Reason,
    wait: Annotated[
        float,
        typer.Option("--wait", min=0, help="Seconds to wait until all that waited is read."),
    ] = 60.0,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Read what waits of a shop, in order, and let what is new pass behind it."""
    from streams.pausing import table as pauses

    loaded = settings()
    try:
        id_, is_over = run(_resume(loaded, platform, shop, who(operator), reason, wait))
    except pauses.AsItIs as error:
        refuse({"ok": False, "platform": platform, "shop": shop}, str(error), as_json=as_json)
    answer(
        {"ok": True, "id": id_, "platform": platform, "shop": shop, "over": is_over},
        as_json=as_json,
        words=lambda to: to.print(
            "Resumed, and all that waited is read."
            if is_over
            else "Resumed; what waits is being read. `orderflow operations` sees it end, "
            "`orderflow intake paused` shows it."
        ),
    )


async def _resume(
    loaded: "Settings", platform: str, shop: str, by: str, why: str, wait_s: float
) -> tuple[int, bool]:
    import asyncio
    import time

    from streams.pausing import table as pauses

    dsn = operations_of(loaded)
    id_ = await pauses.resume(loaded, dsn, platform, shop, by, why)
    finisher, until = pauses.Finisher(loaded, dsn), time.monotonic() + wait_s
    while time.monotonic() < until:
        await finisher.finish()
        if not any(row["id"] == id_ for row in await pauses.open_pauses(dsn)):
            return id_, True
        await asyncio.sleep(_LOOK_S)
    return id_, False


@intake.command(
    "paused", epilog=examples("orderflow intake paused", "orderflow intake paused --json")
)
def paused(*, as_json: AsJson = False) -> None:
    """List the shops whose messages are set aside, since when, by whom and why."""
    import time

    from streams.pausing import table as pauses

    loaded = settings()
    rows = run(pauses.open_pauses(reader_of(loaded)))
    found = pauses.lasting(rows, time.time(), loaded.pause_max.total_seconds())
    answer({"ok": True, "pauses": found}, as_json=as_json, words=lambda _: _paused(found))


def _paused(found: list[dict[str, Any]]) -> None:
    shown = table(
        "Paused", "platform", "shop", "state", "since (UTC)", "who: why", "#lasts (s)", "too long"
    )
    for row in found:
        shown.add_row(
            row["platform"], row["shop"], row["state"], cell(row["paused_at"]),
            f"{row['paused_by']}: {row['paused_why']}", cell(row["lasts_s"]), cell(row["overdue"]),
        )  # fmt: skip
    console().print(shown if found else "No shop is paused.")


@intake.command("history", epilog=examples("orderflow intake history douyin shanjiao"))
def history(platform: Platform, shop: Shop, *, as_json: AsJson = False) -> None:
    """Tell who paused and resumed a shop's intake, when and why."""
    from streams.pausing import table as pauses

    found = run(pauses.history(reader_of(settings()), platform, shop, 100))
    if not found:
        refuse(
            {"ok": False, "pauses": []},
            f"Intake of {platform} shop {shop} was never paused.",
            as_json=as_json,
        )
    answer({"ok": True, "pauses": found}, as_json=as_json, words=lambda _: _history(found))


def _history(found: list[dict[str, Any]]) -> None:
    shown = table("Pauses", "paused (UTC)", "by: why", "resumed (UTC)", "by: why", "over (UTC)")
    for row in found:
        resumed = f"{row['resumed_by']}: {row['resumed_why']}" if row["resumed_at"] else "-"
        shown.add_row(
            cell(row["paused_at"]), f"{row['paused_by']}: {row['paused_why']}",
            cell(row["resumed_at"]), resumed, cell(row["drained_at"]),
        )  # fmt: skip
    console().print(shown)
