"""The commands of the reconciler: look once, look for ever, confirm what a drift proposes."""

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import (
    BAD_INPUT,
    NO,
    AsJson,
    answer,
    cell,
    console,
    examples,
    refuse,
    run,
    settings,
    stop,
    table,
)

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from schemas.errors import Refusal
    from schemas.stock import AdjustStock
    from streams.reconciling.looking import Look
    from streams.settings import Settings

reconcile = typer.Typer(
    help="Compare ledger, rows, keepers and Redis; name every drift and what sets it right.",
    epilog=examples(
        "orderflow reconcile",
        "orderflow reconcile --every 60s   (until SIGTERM)",
        "orderflow reconcile confirm 7 --reason 'row restored after the incident' --operator mei",
    ),
    invoke_without_command=True,
)

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(reconcile, name="reconcile", rich_help_panel="Operate")


@reconcile.callback()
def look(
    context: typer.Context,
    *,
    once: Annotated[bool, typer.Option("--once", help="Look once; that is the default.")] = False,
    every: Annotated[
        str | None, typer.Option("--every", help="Look again and again, such as 60s, 5m.")
    ] = None,
    patience: Annotated[
        str, typer.Option("--patience", help="Wait so long for readers that are behind.")
    ] = "10s",
    as_json: AsJson = False,
) -> None:
    """Compare everything; exit 1 where a drift is open."""
    if context.invoked_subcommand is not None:
        return
    if once and every is not None:
        stop("Give --once or --every, not both.", BAD_INPUT)
    if every is not None:
        from streams.reconciling.watching import watch

        run(
            watch(
                settings(every_line=True),
                _seconds("--every", every),
                _seconds("--patience", patience),
            )
        )
        return
    _once(settings(), _seconds("--patience", patience), as_json=as_json)


def _seconds(option: str, said: str) -> float:
    met = _SPAN.fullmatch(said.strip())
    if met is None or not float(met[1]):
        stop(f"{option}: write a time such as 500ms, 60s, 5m or 1h; not {said!r}.", BAD_INPUT)
    return float(met[1]) * _UNITS[met[2]]


def _once(loaded: "Settings", patience_s: float, *, as_json: bool) -> None:
    from rich.console import Console

    from streams.reconciling.book import Book
    from streams.reconciling.looking import Reconciler
    from streams.reconciling.watching import once

    terminal = Console(stderr=True)
    with terminal.status("looking") as status:

        def progress(what: str, entries: int) -> None:
            status.update(f"{what}: {entries:,} entries" if entries else what)

        async def work() -> "tuple[Look, list[dict[str, Any]]]":
            async with Reconciler(loaded, patience_s) as reconciler:
                return await once(reconciler, Book(reconciler.dsn), progress)

        found, open_ = run(work())
    answer(
        _facts(found, open_),
        as_json=as_json,
        words=lambda _: _show(found, open_),
    )
    if open_:
        raise typer.Exit(NO)


def _facts(found: "Look", open_: list[dict[str, Any]]) -> dict[str, Any]:
    hidden = ("mark", "status", "ended_at", "operator", "reason", "command_id")
    return {
        "ok": not open_,
        "skus": found.skus,
        "entries": found.entries,
        "orders": found.orders,
        "found": len(found.drifts),
        "behind": found.behind,
        "skipped": found.skipped,
        "seconds": round(found.seconds, 3),
        "drifts": [
            {name: value for name, value in row.items() if name not in hidden} for row in open_
        ],
    }


def _show(found: "Look", open_: list[dict[str, Any]]) -> None:
    to = console()
    if open_:
        shown = table(
            f"{len(open_):,} drifts", "#id", "kind", "SKU or order", "what", "#amount", "#version",
            "expected", "found", "proposed",
        )  # fmt: skip
        for row in open_:
            about = " ".join(filter(None, (row["sku"], row["order_key"])))
            shown.add_row(
                str(row["id"]), row["kind"], cell(about), row["what"], f"{row['amount']:+,}",
                cell(row["version"]), row["expected"], row["found"], row["proposal"],
            )  # fmt: skip
        to.print(shown)
        to.print("Set one right by: orderflow reconcile confirm ID --reason TEXT --operator NAME")
    counted = f"{found.skus:,} SKUs, {found.entries:,} entries, {found.orders:,} orders"
    to.print(
        f"{'NOT everything' if open_ else 'Everything'} agrees: {counted}, {found.seconds:.1f} s."
    )
    for who, partitions in found.behind.items():
        to.print(f"Not judged, because {who} is behind: partitions {partitions}.")
    for kind, why in found.skipped.items():
        to.print(f"Not compared: {kind}, {why}.")


@reconcile.command(
    "confirm",
    epilog=examples("orderflow reconcile confirm 7 --reason 'seen by both of us' --operator mei"),
)
def confirm(
    number: Annotated[int, typer.Argument(metavar="ID", help="The drift, as it is listed.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stays in the trail.")],
    operator: Annotated[str, typer.Option("--operator", help="Who confirms it.")],
    as_json: AsJson = False,
) -> None:
    """Carry out what a drift proposes, once, with your name and reason."""
    from streams.reconciling.confirming import NotConfirmed
    from streams.reconciling.confirming import confirm as carry_out

    if not reason.strip() or not operator.strip():
        stop("A reason and a name are needed; they stay beside the drift.", BAD_INPUT)
    loaded = settings()

    async def adjust(command: "AdjustStock") -> "Refusal | None":
        from streams.commanding import ask

        refusal: Refusal | None = (await ask(loaded, [command]))[command.id].refusal
        return refusal

    try:
        done = run(carry_out(loaded, number, operator, reason, adjust))
    except NotConfirmed as error:
        refuse({"ok": False, "drift": number, "why": str(error)}, str(error), as_json=as_json)
    answer(
        {"ok": True, "drift": number, "done": done.done},
        as_json=as_json,
        words=lambda to: to.print(f"Drift {number}: {done.done}."),
    )
