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
    refuse,
    run,
    settings,
    stop,
    table,
)
from streams.postgres.addresses import reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from collections.abc import Mapping

    from schemas.errors import Refusal
    from schemas.stock import OperatorStockCommand, StockCommandAnswered

stock = typer.Typer(
    help="Receive, count, correct, freeze, allot and show stock.",
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
    float | None,
    typer.Option(
        "--timeout",
        min=0.1,
        help="Seconds to wait for the answer; else what ORDERFLOW_ANSWER_WITHIN says.",
    ),
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
    timeout: Within = None,
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
    timeout: Within = None,
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
    timeout: Within = None,
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
    timeout: Within = None,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Put frozen units back on sale."""
    from schemas.stock import UnfreezeStock

    _one(UnfreezeStock, operator, id_, timeout, as_json, sku=sku, quantity=quantity, reason=reason)


@stock.command(
    "count",
    epilog=examples(
        "orderflow stock count BASKET-L 37 --reason 'stocktake 12 May'",
        "orderflow stock count BASKET-L 37 --book 40 --reason 'the book said 40 when we began'",
    ),
)
def count(
    sku: SkuName,
    counted: Annotated[int, typer.Argument(help="All that is there, in whatever bucket.")],
    *,
    reason: Reason,
    book: Annotated[
        int | None,
        typer.Option(
            "--book",
            help="On hand by the book when the counting began, so that what moved meanwhile does "
            "no harm; by the book now where it is not given.",
        ),
    ] = None,
    operator: Operator = None,
    timeout: Within = None,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Take stock: what is missing beyond what is free is a shortfall, for a person to settle."""
    from schemas.stock import CountStock

    _one(
        CountStock, operator, id_, timeout, as_json,
        sku=sku, counted=counted, reason=reason, book=book,
    )  # fmt: skip


Quota = Annotated[str, typer.Option("--quota", help="Name of the campaign or channel.")]


@stock.command(
    "allot",
    epilog=examples(
        "orderflow stock allot BASKET-L 20 --quota 11-11 --from 2026-11-10T20:00:00+08:00 "
        "--until 2026-11-12T00:00:00+08:00 --reason 'singles day'",
    ),
)
def allot(
    sku: SkuName,
    quantity: Quantity,
    *,
    quota: Quota,
    until: Annotated[str, typer.Option("--until", help="End of the window, with its zone.")],
    starts: Annotated[
        str | None, typer.Option("--from", help="Start of the window, with its zone; now.")
    ] = None,
    reason: Reason,
    operator: Operator = None,
    timeout: Within = None,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Keep units for one campaign or channel; what is not sold in the window is given back."""
    from schemas.stock import AllotStock
    from streams.clock import now_ms

    _one(
        AllotStock, operator, id_, timeout, as_json,
        sku=sku, quantity=quantity, reason=reason, quota=quota,
        starts_ms=now_ms() if starts is None else instant("--from", starts),
        ends_ms=instant("--until", until),
    )  # fmt: skip


@stock.command(
    "give-back",
    epilog=examples("orderflow stock give-back BASKET-L 5 --quota 11-11 --reason 'slow sale'"),
)
def give_back(
    sku: SkuName,
    quantity: Quantity,
    *,
    quota: Quota,
    reason: Reason,
    operator: Operator = None,
    timeout: Within = None,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Put what a quota has left on sale for everybody."""
    from schemas.stock import GiveBackStock

    _one(
        GiveBackStock, operator, id_, timeout, as_json,
        sku=sku, quantity=quantity, reason=reason, quota=quota,
    )  # fmt: skip


@stock.command(
    "return",
    epilog=examples(
        "orderflow stock return taobao:qingyou:2771944107739206615 BASKET-L 1 "
        "--disposition sellable --reason 'too big'",
    ),
)
def take_back(
    order: Annotated[str, typer.Argument(help="Key of the order: platform:shop:id.")],
    sku: SkuName,
    quantity: Quantity,
    *,
    disposition: Annotated[
        str,
        typer.Option(
            "--disposition",
            help="sellable: on sale again; frozen: damaged or waits for QC; lost: nothing moves.",
        ),
    ],
    reason: Reason,
    operator: Operator = None,
    timeout: Within = None,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Take back what an order had shipped: never more than that. A refund alone moves nothing."""
    from schemas.orders import ReturnGoods

    _about_order(
        ReturnGoods, operator, id_, timeout, as_json,
        order=order, sku=sku, quantity=quantity, disposition=disposition, reason=reason,
    )  # fmt: skip


@stock.command(
    "settle",
    epilog=examples(
        "orderflow stock settle taobao:qingyou:2771944107739206615 paid_but_short "
        "--choice backorder --reason 'delivery came'",
    ),
)
def settle(
    order: Annotated[str, typer.Argument(help="Key of the order: platform:shop:id.")],
    case: Annotated[str, typer.Argument(help="The case, as `order show` names it.")],
    *,
    choice: Annotated[
        str,
        typer.Option(
            "--choice",
            help="refund: give up what is missing; backorder: ask for it once more, now; "
            "substitute: the platform's next word says what is sent instead.",
        ),
    ],
    reason: Reason,
    operator: Operator = None,
    timeout: Within = None,
    id_: Id = None,
    as_json: AsJson = False,
) -> None:
    """Decide a case of an order, such as paid and short."""
    from schemas.orders import SettleCase

    _about_order(
        SettleCase, operator, id_, timeout, as_json,
        order=order, case=case, choice=choice, reason=reason,
    )  # fmt: skip


def _about_order(
    kind: type[Any],
    operator: str | None,
    id_: str | None,
    timeout: float | None,
    as_json: bool,  # noqa: FBT001  private: passed through from an option
    **fields: Any,
) -> None:
    """Send one command about an order, wait for its answer and say it."""
    _, said = _asked(kind, operator, id_, timeout, fields)
    facts = {
        "ok": said.refusal is None,
        "command": said.command,
        "order": said.order,
        "about": said.about,
        "refusal": said.refusal,
        "left": said.left,
        "at_ms": said.at_ms,
    }
    if said.refusal is not None:
        refuse(
            facts,
            f"Refused: {said.refusal}; {said.left:,} of {said.about} may come back. "
            f"{_again(said.refusal)} (id {said.command})",
            as_json=as_json,
        )
    answer(
        facts,
        as_json=as_json,
        words=lambda to: to.print(f"Done: {said.order}, {said.about}. (id {said.command})"),
    )


def instant(option: str, said: str) -> int:
    """Return the ms of a time that is written with its zone; another is refused, never guessed."""
    from datetime import datetime

    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        stop(f"{option}: write a time with its zone, such as 2026-11-11T00:00:00+08:00.", BAD_INPUT)
    return round(at.timestamp() * 1000)


@stock.command(
    "shortfalls",
    epilog=examples("orderflow stock shortfalls", "orderflow stock shortfalls --json"),
)
def shortfalls(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many SKUs to show.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the SKUs of which more is held than is there: each is a case for a person."""
    from streams.reads import Reads

    async def read() -> list[dict[str, Any]]:
        async with Reads(reader_of(loaded)) as reads:
            return await reads.open_shortfalls(limit)

    loaded = settings()
    found = run(read())
    answer({"ok": True, "shortfalls": found}, as_json=as_json, words=lambda _: _show_short(found))


def _show_short(found: list[dict[str, Any]]) -> None:
    short = table("Shortfalls", "SKU", "#short", "#on hand", "#locked", "#occupied", "since (UTC)")
    for row in found:
        short.add_row(
            row["sku"], cell(row["shortfall"]), cell(row["on_hand"]), cell(row["locked"]),
            cell(row["occupied"]), cell(row["changed_at"]),
        )  # fmt: skip
    console().print(short if found else "Nothing is short.")


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
    from streams.reads import Reads

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
    buckets = ("available", "locked", "occupied", "reserved", "frozen", "shortfall")
    head = table(sku, "#on hand", *(f"#{name}" for name in buckets), "last change (UTC)")
    head.add_row(
        cell(balance["on_hand"]),
        *(cell(balance[name]) for name in buckets),
        cell(balance["changed_at"]),
    )
    to.print(head)
    if found["holds"]:
        holds = table("Open holds", "order", "bucket", "#quantity", "deadline (UTC)")
        for hold in found["holds"]:
            holds.add_row(
                hold["order_key"], hold["bucket"], cell(hold["quantity"]), cell(hold["deadline_at"])
            )
        to.print(holds)
    if found["quotas"]:
        quotas = table(
            "Quotas", "quota", "from (UTC)", "until (UTC)", "#allotted", "#left", "ended"
        )
        for quota in found["quotas"]:
            quotas.add_row(
                quota["quota"], cell(quota["starts_at"]), cell(quota["ends_at"]),
                cell(quota["allotted"]), cell(quota["remains"]), cell(quota["ended_at"]),
            )  # fmt: skip
        to.print(quotas)
    trail = table("Last moves", "#no", "when (UTC)", "verb", "#units", "from", "to", "why")
    for move in found["moves"]:
        why = f"{move['operator']}: {move['reason']}" if move["operator"] else move["order_key"]
        why = why or move["quota"] or move["cause"]
        trail.add_row(
            cell(move["version"]), cell(move["at"]), move["verb"], cell(move["quantity"]),
            move["source"] or "outside", move["target"] or "outside", why,
        )  # fmt: skip
    to.print(trail)


def _asked(
    kind: type[Any],
    operator: str | None,
    id_: str | None,
    timeout: float | None,
    fields: "Mapping[str, Any]",
) -> tuple[Any, Any]:
    """Send one command and wait; return it and its answer."""
    from streams import commanding
    from streams.clock import new_id

    made = commanding.command(kind, id=id_ or new_id(), operator=who(operator), **fields)
    said = run(commanding.ask(settings(), [made], timeout))
    return made, said[made.id]


def _one(
    kind: type[Any],
    operator: str | None,
    id_: str | None,
    timeout: float | None,
    as_json: bool,  # noqa: FBT001  private: passed through from an option
    **fields: Any,
) -> None:
    """Send one command, wait for its answer and say it."""
    made, said = _asked(kind, operator, id_, timeout, fields)
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
    return (
        f"Refused: {said.refusal}; {made.sku} has {said.available:,} available. "
        f"{_again(said.refusal)} (id {said.command})"
    )


def _again(refusal: "Refusal | None") -> str:
    from schemas.errors import MAY_CHANGE

    if refusal is not None and MAY_CHANGE[refusal]:
        return "It may be asked again later, with a new id."
    return "Asking again will not change that."


def _receive_many(
    file: Path, reason: str, operator: str | None, timeout: float | None, *, as_json: bool
) -> None:
    from streams import commanding

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
