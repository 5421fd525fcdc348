"""Commands that look and change nothing: orders, payloads, drawings, the check."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.cli.answers import (
    BAD_INPUT,
    NO,
    AsJson,
    answer,
    cell,
    console,
    examples,
    print_json,
    refuse,
    run,
    settings,
    stop,
    table,
)
from streams.postgres.addresses import reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

order = typer.Typer(
    help="Orders as the ledger knows them.",
    epilog=examples("orderflow order show 2771944107739206615"),
    no_args_is_help=True,
)
explain = typer.Typer(
    help="Why something is as it is, from the first message on.",
    epilog=examples("orderflow explain order taobao:qingyou:2771944107739206615"),
    no_args_is_help=True,
)
OrderName = Annotated[
    str, typer.Argument(help="platform:shop:order, or the platform's own id.", metavar="ID")
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(order, name="order", rich_help_panel="Look")
    app.add_typer(explain, name="explain", rich_help_panel="Look")
    for command, name, lines in (
        (normalize, "normalize", ("orderflow normalize taobao trade.json refunds.json",)),
        (check, "check", ("orderflow check", "orderflow check --json | tail -1")),
        (topology, "topology", ("orderflow topology",)),
        (state_machines, "state-machines", ("orderflow state-machines > docs/state-machines.md",)),
        (
            events,
            "events",
            (
                "orderflow events",
                "orderflow events --asyncapi",
                "orderflow events --into docs/events",
            ),
        ),
    ):
        app.command(name, epilog=examples(*lines), rich_help_panel="Look")(command)


@order.command(
    "show",
    epilog=examples(
        "orderflow order show 2771944107739206615",
        "orderflow order show taobao:qingyou:2771944107739206615 --json",
    ),
)
def show_order(id_: OrderName, *, as_json: AsJson = False) -> None:
    """Show an order: status, reservation, money, lines, holds and the parcels that left."""
    story = _story(id_, as_json=as_json)
    facts = {name: story[name] for name in ("order", "lines", "holds", "details")}
    facts["parcels"] = _parcels(story)
    answer({"ok": True, **facts}, as_json=as_json, words=lambda _: _show(story))


@explain.command(
    "order",
    epilog=examples(
        "orderflow explain order 2771944107739206615",
        "orderflow explain order taobao:qingyou:2771944107739206615 --json",
    ),
)
def explain_order(id_: OrderName, *, as_json: AsJson = False) -> None:
    """Tell an order's story: raw messages, decisions with reasons, stock moves, ledger rows."""
    from streams.explaining import order as explaining

    story = _story(id_, as_json=as_json)
    told = run(explaining.explained(settings(), story))
    answer(
        {"ok": True, **told},
        as_json=as_json,
        words=lambda to: to.print("\n".join(explaining.in_words(told)), markup=False),
    )


@explain.command(
    "sku",
    epilog=examples(
        "orderflow explain sku BASKET-L",
        "orderflow explain sku BASKET-L --at 2026-11-11T00:00:00+08:00 --json",
    ),
)
def explain_sku(
    sku: Annotated[str, typer.Argument(help="The SKU, as we call it.", metavar="SKU")],
    *,
    at: Annotated[
        str | None, typer.Option("--at", help="A moment, with its zone; now where not given.")
    ] = None,
    moves: Annotated[
        int, typer.Option("--moves", min=1, max=500, help="Moves to show before it.")
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Tell how a SKU came to stand as it did: balance from the ledger, moves, and their causes."""
    from streams.cli.operating import instant
    from streams.clock import now_ms
    from streams.explaining import stock as explaining_stock

    loaded = settings()
    at_ms = now_ms() if at is None else instant("--at", at)
    told = run(explaining_stock.explained(loaded, reader_of(loaded), sku, at_ms, moves))
    if told is None:
        refuse(
            {"ok": False, "sku": sku},
            f"The ledger knows no SKU {sku}; `orderflow stock receive {sku} QUANTITY` takes it in.",
            as_json=as_json,
        )
    answer(
        {"ok": True, **told},
        as_json=as_json,
        words=lambda to: to.print("\n".join(explaining_stock.in_words(told)), markup=False),
    )


def _story(id_: str, *, as_json: bool) -> dict[str, Any]:
    """Return everything the ledger knows of the one order called *id_*, or end the command."""
    from streams.reads import Reads

    loaded = settings()

    async def read() -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        async with Reads(reader_of(loaded)) as reads:
            called = await reads.order(id_)
            only = called[0]["order_key"] if len(called) == 1 else None
            return called, await reads.order_story(only) if only else None

    called, story = run(read())
    if not called:
        refuse(
            {"ok": False, "order": id_, "found": []},
            f"The ledger knows no order {id_}; if it was sent, see `orderflow exceptions list`.",
            as_json=as_json,
        )
    if story is None:
        keys = [found["order_key"] for found in called]
        refuse(
            {"ok": False, "order": id_, "found": keys},
            f"{len(keys)} orders are called {id_}; say which: {', '.join(keys)}.",
            as_json=as_json,
            code=BAD_INPUT,
        )
    return story


def _show(story: dict[str, Any]) -> None:
    to, found = console(), story["order"]
    head = table(found["order_key"], "what", "value")
    for name in (
        "status", "platform_status", "status_said", "refund", "reservation_now", "open_case",
        "currency", "total_minor", "shipping_minor", "discount_minor", "paid_minor",
        "refunded_minor", "created_at", "paid_at", "shipped_at", "completed_at", "updated_at",
        "deadline_at", "first_received_at", "written_at", "ignored", "unmapped", "version",
    ):  # fmt: skip
        if found.get(name) not in (None, [], (), ""):
            head.add_row(name.replace("_", " "), cell(found[name]))
    to.print(head)
    lines = table("Lines", "line", "SKU", "title", "#quantity", "#unit price", "#line total")
    for line in story["lines"]:
        lines.add_row(
            line["line_id"], line["sku"] or f"not mapped ({line['platform_sku']})",
            cell(line["title"]), cell(line["quantity"]), cell(line["unit_price_minor"]),
            cell(line["line_total_minor"]),
        )  # fmt: skip
    to.print(lines)
    holds = table("Stock", "SKU", "#quantity", "last verb", "bucket", "ended (UTC)")
    for hold in story["holds"]:
        holds.add_row(
            hold["sku"], cell(hold["quantity"]), hold["verb"], hold["bucket"],
            cell(hold["ended_at"]),
        )  # fmt: skip
    to.print(holds)
    parcels = table("Parcels", "#no", "carrier", "number", "what", "by: why", "left (UTC)")
    for parcel in _parcels(story):
        what = ", ".join(f"{line['quantity']} of {line['line_id']}" for line in parcel["lines"])
        parcels.add_row(
            cell(parcel["parcel"]), parcel["carrier"], parcel["tracking_number"], what,
            f"{parcel['operator']}: {parcel['reason']}", cell(parcel["at"]),
        )  # fmt: skip
    if parcels.row_count:
        to.print(parcels)


#: What is shown of a parcel.
_OF_A_PARCEL = ("parcel", "carrier", "tracking_number", "lines", "left", "operator", "reason")


def _parcels(story: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parcels that left our warehouse, oldest first."""
    return [
        {name: event["body"][name] for name in _OF_A_PARCEL} | {"at": event["at"]}
        for event in story["events"]
        if event["event"] == "order.shipped"
    ]


def normalize(
    platform: Annotated[str, typer.Argument(help="Platform code, such as taobao or shopify.")],
    files: Annotated[list[Path], typer.Argument(help="Payloads; files together belong together.")],
) -> None:
    """Print one JSON object per order found in FILES, in the house's own terms."""
    from schemas.errors import Rejected
    from streams.adapters.normalize import normalize as normalized

    payloads = []
    for file in files:
        try:
            payloads.append((str(file), file.read_bytes()))
        except OSError as error:
            stop(f"{file} cannot be read: {error.strerror}.", BAD_INPUT)
    try:
        orders = normalized(platform, payloads)
    except Rejected as error:
        stop(" ".join(str(error).split()), BAD_INPUT)
    for found in orders:
        print_json(found)


def check(
    *,
    feed_log: Annotated[
        Path | None,
        typer.Option("--feed-log", help="What `orderflow feed --log` wrote, to compare with."),
    ] = None,
    without_postgres: Annotated[
        bool, typer.Option("--without-postgres", help="Judge the topics alone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every invariant, from topics and ledger, by code independent of the keepers."""
    from streams.check import render
    from streams.check import run as check_all

    report = run(check_all(settings(), feed_log=feed_log, without_postgres=without_postgres))
    answer(
        report.as_json(),
        as_json=as_json,
        words=lambda to: to.print("\n".join(render(report)), markup=False),
    )
    if not report.ok:
        raise typer.Exit(NO)


def topology() -> None:
    """Print who listens to what, and where each message goes."""
    from streams.topology import picture

    sys.stdout.write(picture())


def state_machines() -> None:
    """Print the state machines as docs/state-machines.md, drawn from the tables."""
    from streams.drawings import page

    sys.stdout.write(page())


def events(
    *,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into", help="Write one file an event type there, and the AsyncAPI document."
        ),
    ] = None,
    asyncapi: Annotated[
        bool, typer.Option("--asyncapi", help="Print the AsyncAPI 3 document instead.")
    ] = False,
) -> None:
    """
    Print the JSON Schema of every public event, as subscribers may rely on it.

    A change that would break a version in the folder's `versions/` is refused, and nothing written.
    """
    from streams import contract

    documents = contract.schemas()
    if into is None:
        sys.stdout.write(contract.text_of(contract.asyncapi() if asyncapi else documents))
        return
    into.mkdir(parents=True, exist_ok=True)
    if broken := contract.publish(into):
        stop(
            "This would break what was promised; make it a new type with the next major version:\n"
            + "\n".join(broken),
            NO,
        )
    sys.stdout.write(f"{len(documents)} schemas and the AsyncAPI document in {into}\n")
