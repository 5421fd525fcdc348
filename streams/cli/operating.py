"""Commands that change stock: each is a command on its way to the one keeper that may do it."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import (
    BAD_INPUT,
    AsJson,
    answer,
    cell,
    console,
    examples,
    reader_of,
    refuse,
    run,
    settings,
    stop,
    table,
)

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from schemas.stock import OperatorStockCommand, StockCommandAnswered

stock = typer.Typer(
    help="Receive, correct, freeze and show stock.",
    epilog=examples(
        "orderflow stock receive --reason delivery BASKET-L 40",
        "orderflow stock show BASKET-L",
    ),
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(stock, name="stock", rich_help_panel="Operate")


Reason = Annotated[str, typer.Option("--reason", help="Why; it stays in the trail.")]
Operator = Annotated[
    str | None, typer.Option("--operator", help="Who; your user name where it is not given.")
]
Within = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds to wait for the answer.")
]
Id = Annotated[
    str | None,
    typer.Option("--id", help="Ask an earlier command again; it is never done twice."),
]
Quantity = Annotated[int, typer.Argument(help="Units, a whole number above 0.")]
SkuName = Annotated[str, typer.Argument(help="The SKU, as we call it.", metavar="SKU")]


@stock.command(
    "receive",
    epilog=examples(
        "orderflow stock receive BASKET-L 40 --reason delivery",
        "orderflow stock receive --file delivery.csv --reason delivery   (columns sku,quantity)",
    ),
)
def receive(
    sku: Annotated[str | None, typer.Argument(metavar="SKU")] = None,
    quantity: Annotated[int | None, typer.Argument()] = None,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", help="CSV with the columns sku and quantity.")
    ] = None,
    reason: Reason = "received",
    operator: Operator = None,
    timeout: Within = 10.0,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Take goods in: one SKU, or many from a file."""
    from schemas.stock import ReceiveStock

    if file is not None:
        if sku is not None or id_ is not None:
            stop("Give SKU and quantity, or --file, not both; --id is for one SKU.", BAD_INPUT)
        _receive_many(file, reason, operator, timeout, as_json=as_json)
    elif sku is None or quantity is None:
        stop("Give a SKU and a quantity, or --file FILE.", BAD_INPUT)
    else:
        _one(
            ReceiveStock, operator, id_, timeout, as_json,
            sku=sku, quantity=quantity, reason=reason,
        )  # fmt: skip


@stock.command(
    "adjust",
    epilog=examples(
        "orderflow stock adjust BASKET-L -3 --reason 'stocktake 12 May'",
        "orderflow stock adjust BASKET-L 2 --reason found",
    ),
    # So that -3 is a number and not an option.
    context_settings={"ignore_unknown_options": True},
)
def adjust(
    sku: SkuName,
    delta: Annotated[int, typer.Argument(help="Difference, not 0; negative takes away.")],
    *,
    reason: Reason,
    operator: Operator = None,
    timeout: Within = 10.0,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Correct what is available by a difference."""
    from schemas.stock import AdjustStock

    if delta == 0:
        stop("delta: 0 changes nothing; give a difference.", BAD_INPUT)
    _one(AdjustStock, operator, id_, timeout, as_json, sku=sku, delta=delta, reason=reason)


@stock.command(
    "freeze",
    epilog=examples("orderflow stock freeze BASKET-L 5 --reason 'water damage'"),
)
def freeze(
    sku: SkuName,
    quantity: Quantity,
    *,
    reason: Reason,
    operator: Operator = None,
    timeout: Within = 10.0,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Take units out of sale without losing them."""
    from schemas.stock import FreezeStock

    _one(FreezeStock, operator, id_, timeout, as_json, sku=sku, quantity=quantity, reason=reason)


@stock.command(
    "unfreeze",
    epilog=examples("orderflow stock unfreeze BASKET-L 5 --reason 'passed QC'"),
)
def unfreeze(
    sku: SkuName,
    quantity: Quantity,
    *,
    reason: Reason,
    operator: Operator = None,
    timeout: Within = 10.0,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Put frozen units back on sale."""
    from schemas.stock import UnfreezeStock

    _one(UnfreezeStock, operator, id_, timeout, as_json, sku=sku, quantity=quantity, reason=reason)


@stock.command(
    "show",
    epilog=examples("orderflow stock show BASKET-L", "orderflow stock show BASKET-L --json"),
)
def show(
    sku: SkuName,
    *,
    moves: Annotated[int, typer.Option("--moves", min=1, help="How many moves to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show a SKU's buckets, its open holds and its last moves, from PostgreSQL."""
    from streams.postgres.reads import Reads

    async def read() -> dict[str, Any] | None:
        async with Reads(reader_of(loaded)) as reads:
            return await reads.stock(sku, limit=moves)

    loaded = settings()
    found = run(read())
    if found is None:
        refuse(
            {"ok": False, "sku": sku},
            f"{sku} was never received; `orderflow stock receive {sku} QUANTITY` takes goods in.",
            as_json=as_json,
        )
    answer({"ok": True, "sku": sku, **found}, as_json=as_json, words=lambda _: _show(sku, found))


def _show(sku: str, found: dict[str, Any]) -> None:
    to, balance = console(), found["balance"]
    buckets = ("available", "locked", "occupied", "reserved", "frozen")
    head = table(sku, "#on hand", *(f"#{name}" for name in buckets), "last change (UTC)")
    on_hand = sum(balance[name] for name in buckets)
    head.add_row(
        cell(on_hand), *(cell(balance[name]) for name in buckets), cell(balance["changed_at"])
    )
    to.print(head)
    if found["holds"]:
        holds = table("Open holds", "order", "bucket", "#quantity", "deadline (UTC)")
        for hold in found["holds"]:
            holds.add_row(
                hold["order_key"], hold["bucket"], cell(hold["quantity"]), cell(hold["deadline_at"])
            )
        to.print(holds)
    trail = table("Last moves", "#no", "when (UTC)", "verb", "#units", "from", "to", "why")
    for move in found["moves"]:
        why = move["order_key"] or f"{move['operator']}: {move['reason']}"
        trail.add_row(
            cell(move["version"]), cell(move["at"]), move["verb"], cell(move["quantity"]),
            move["source"] or "outside", move["target"] or "outside", why,
        )  # fmt: skip
    to.print(trail)


def _one(
    kind: type[Any],
    operator: str | None,
    id_: str | None,
    timeout: float,
    as_json: bool,  # noqa: FBT001  private: passed through from an option
    **fields: Any,
) -> None:
    """Send one command, wait for its answer and say it."""
    from streams.cli import commanding
    from streams.clock import new_id

    made = commanding.command(kind, id=id_ or new_id(), operator=who(operator), **fields)
    said = run(commanding.ask(settings(), [made], timeout))[made.id]
    facts = {**_facts(said), "ok": said.refusal is None}
    if said.refusal is not None:
        refuse(facts, _why_not(made, said), as_json=as_json)
    answer(
        facts,
        as_json=as_json,
        words=lambda to: to.print(
            f"Done. {said.sku} has {said.available:,} available. (id {said.command})"
        ),
    )


def _facts(said: "StockCommandAnswered") -> dict[str, Any]:
    return {
        "command": said.command,
        "sku": said.sku,
        "refusal": said.refusal,
        "available": said.available,
        "at_ms": said.at_ms,
    }


def _why_not(made: "OperatorStockCommand", said: "StockCommandAnswered") -> str:
    from schemas.errors import MAY_CHANGE

    again = (
        "It may be asked again later, with a new id."
        if said.refusal is not None and MAY_CHANGE[said.refusal]
        else "Asking again will not change that."
    )
    return (
        f"Refused: {said.refusal}; {made.sku} has {said.available:,} available. {again} "
        f"(id {said.command})"
    )


def _receive_many(
    file: Path, reason: str, operator: str | None, timeout: float, *, as_json: bool
) -> None:
    from streams.cli import commanding

    made = commanding.receipts(file, reason, who(operator))
    answers = run(commanding.ask(settings(), made, timeout))
    refused = [said for said in answers.values() if said.refusal is not None]
    facts = {
        "ok": not refused,
        "received": len(answers) - len(refused),
        "refused": [_facts(said) for said in refused],
    }
    if refused:
        first = refused[0]
        refuse(
            facts,
            f"{len(refused)} of {len(answers)} were refused; the first: {first.sku}: "
            f"{first.refusal}.",
            as_json=as_json,
        )
    answer(facts, as_json=as_json, words=lambda to: to.print(f"Received {len(answers):,} SKUs."))


def who(operator: str | None) -> str:
    """Return who asks; a trail without a name is refused."""
    if operator:
        return operator
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        stop("Say who you are with --operator; this user has no name.", BAD_INPUT)
