"""Commands about callbacks: the process that sends them, and those who are told."""

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
    from collections.abc import Awaitable
    from typing import TypeVar

    T = TypeVar("T")

callbacks = typer.Typer(
    help="Send subscribers what they are to be told.",
    epilog=examples("orderflow callbacks run"),
    no_args_is_help=True,
)
subscribers = typer.Typer(
    help="Who is told of orders by webhook.",
    epilog=examples(
        "orderflow subscribers add wms --url https://wms.example.com/h --reason 'new warehouse'",
        "orderflow subscribers deliveries wms",
    ),
    no_args_is_help=True,
)

Called = Annotated[str, typer.Argument(help="By name or id.", metavar="SUBSCRIBER")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(callbacks, name="callbacks", rich_help_panel="Run")
    app.add_typer(subscribers, name="subscribers", rich_help_panel="Operate")


@callbacks.command(
    "run",
    epilog=examples(
        "orderflow worker --roles callbacks   (fills the queue)",
        "orderflow callbacks run   (sends; any number of them)",
        "ORDERFLOW_HEALTH_PORT=8089 orderflow callbacks run",
        "ORDERFLOW_SHOPS_FILE=shops.toml orderflow callbacks run   (and parcels to platforms)",
    ),
)
def run_() -> None:
    """
    Send what is due until SIGTERM: signed, in order, tried again, parked at last.

    With ORDERFLOW_SHOPS_FILE it also tells platforms of the parcels that left.
    """
    from streams.callbacks.serving import serve

    run(serve(settings(every_line=True)))


@subscribers.command(
    "add",
    epilog=examples(
        "orderflow subscribers add wms --url https://wms.example.com/h --reason 'new warehouse'",
        "orderflow subscribers add crm --url https://crm.example.com/o --event order.reserved "
        "--event order.status --shop taobao --shop shopify:jsmith --reason 'marketing'",
    ),
)
def add(
    name: Annotated[str, typer.Argument(help="What it is called.", metavar="NAME")],
    *,
    url: Annotated[str, typer.Option("--url", help="https, a public address, 443 or 8443.")],
    reason: Reason,
    event: Annotated[
        list[str] | None,
        typer.Option("--event", help="Such as order.reserved; given again for more; else all."),
    ] = None,
    shop: Annotated[
        list[str] | None,
        typer.Option("--shop", help="PLATFORM or PLATFORM:SHOP; given again for more; else all."),
    ] = None,
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, max=32, help="Requests at a time.")
    ] = 4,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Tell somebody of what happens from now on; prints its secret, this once."""
    from agents.callbacks import Filter
    from streams.callbacks import subscribers as those

    loaded = settings()
    wish = those.Wish(name, url, Filter(tuple(event or ()), tuple(shop or ())), at_once)
    made = _done(
        those.add(
            operations_of(loaded), wish, who(operator), reason, loopback=loaded.callbacks_loopback
        ),
        {"ok": False, "name": name},
        as_json=as_json,
    )
    _secret(made.id, name, made.secret, as_json=as_json)


@subscribers.command("list", epilog=examples("orderflow subscribers list --json"))
def list_(
    *,
    removed: Annotated[bool, typer.Option("--removed", help="Also those removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """List those who are told, how each stands and what waits for it."""
    from streams.callbacks import subscribers as those

    found = run(those.listed(reader_of(settings()), removed=removed))
    answer({"ok": True, "subscribers": found}, as_json=as_json, words=lambda _: _list(found))


def _list(found: list[dict[str, Any]]) -> None:
    shown = table("Subscribers", "name", "id", "stands", "url", "events", "shops", "#waiting")
    for row in found:
        stands = row["standing"]
        if row["circuit"] in ("open", "trying"):
            stands = f"{stands}, host left alone"
        shown.add_row(
            row["name"], row["id"], stands, row["url"], ", ".join(row["types"]) or "all",
            ", ".join(row["shops"]) or "all", cell(row["waiting"]),
        )  # fmt: skip
    console().print(shown if found else "Nobody is told: `orderflow subscribers add`.")


@subscribers.command("show", epilog=examples("orderflow subscribers show wms"))
def show(called: Called, *, as_json: AsJson = False) -> None:
    """Show one subscriber, and who did what to it and why; never its secret."""
    from streams.callbacks import subscribers as those

    found = _done(
        those.one(reader_of(settings()), called), {"ok": False, "subscriber": called},
        as_json=as_json,
    )  # fmt: skip
    answer({"ok": True, "subscriber": found}, as_json=as_json, words=lambda _: _show(found))


def _show(found: dict[str, Any]) -> None:
    _list([found])
    shown = table("What was done", "at (UTC)", "what", "by: why")
    for row in found["changes"]:
        shown.add_row(cell(row["at"]), row["did"], f"{row['by']}: {row['why']}")
    console().print(shown)


@subscribers.command(
    "pause", epilog=examples("orderflow subscribers pause wms --reason 'they move house'")
)
def pause(
    called: Called, *, reason: Reason, operator: Operator = None, as_json: AsJson = False
) -> None:
    """Let what it is told wait; nothing is lost."""
    from streams.callbacks import subscribers as those

    _change(those.pause, called, reason, operator, "Paused; what it is told waits.", as_json)


@subscribers.command(
    "resume", epilog=examples("orderflow subscribers resume wms --reason 'they are back'")
)
def resume(
    called: Called, *, reason: Reason, operator: Operator = None, as_json: AsJson = False
) -> None:
    """Send what waited, and what is new."""
    from streams.callbacks import subscribers as those

    _change(those.resume, called, reason, operator, "Resumed; what waited is sent.", as_json)


@subscribers.command(
    "remove", epilog=examples("orderflow subscribers remove wms --reason 'contract ended'")
)
def remove(
    called: Called, *, reason: Reason, operator: Operator = None, as_json: AsJson = False
) -> None:
    """Tell it nothing more, also of what waits; the log of its deliveries is kept for a while."""
    from streams.callbacks import subscribers as those

    _change(those.remove, called, reason, operator, "Removed; it is told nothing more.", as_json)


@subscribers.command(
    "rotate", epilog=examples("orderflow subscribers rotate wms --reason 'yearly'")
)
def rotate(
    called: Called, *, reason: Reason, operator: Operator = None, as_json: AsJson = False
) -> None:
    """Make a new secret and print it, this once; the old one signs beside it for a day."""
    from streams.callbacks import subscribers as those

    made = _done(
        those.rotate(operations_of(settings()), called, who(operator), reason),
        {"ok": False, "subscriber": called}, as_json=as_json,
    )  # fmt: skip
    _secret(made.id, called, made.secret, as_json=as_json)


@subscribers.command(
    "test", epilog=examples("orderflow subscribers test wms --reason 'first connection'")
)
def try_(
    called: Called,
    *,
    reason: Reason,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds to wait for an attempt.")
    ] = 20.0,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Send it a message that is about no order, and say what it answered."""
    row = _done(
        _test(called, reason, who(operator), timeout), {"ok": False, "subscriber": called},
        as_json=as_json,
    )  # fmt: skip
    tried = row["tried"][-1] if row["tried"] else None
    facts = {"ok": row["state"] == "delivered", "delivery": row["id"], "tried": tried}
    if tried is None:
        refuse(
            facts, f"Nobody has tried it within {timeout:g} s: does `orderflow callbacks run` run?",
            as_json=as_json,
        )  # fmt: skip
    said = f"{tried['why']}, {tried['latency_ms']} ms"
    if not facts["ok"]:
        refuse(facts, f"It was not taken: {said}.", as_json=as_json)
    answer(facts, as_json=as_json, words=lambda to: to.print(f"Taken: {said}.", markup=False))


async def _test(called: str, reason: str, by: str, within_s: float) -> dict[str, Any]:
    from streams.callbacks import subscribers as those

    dsn = operations_of(settings())
    return await those.tested(dsn, called, await those.test(dsn, called, by, reason), within_s)


@subscribers.command(
    "deliveries",
    epilog=examples(
        "orderflow subscribers deliveries wms",
        "orderflow subscribers deliveries wms --state parked --limit 200 --json",
    ),
)
def deliveries(
    called: Called,
    *,
    state: Annotated[
        str | None, typer.Option("--state", help="waiting, delivered, parked or cancelled.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many.")] = 20,
    before: Annotated[
        int | None, typer.Option("--before", min=1, help="Go on before this number.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what it was sent or is to be, latest first: each attempt, its answer, its time."""
    from streams.callbacks import subscribers as those

    found = _done(
        those.deliveries(reader_of(settings()), called, limit, before=before, state=state),
        {"ok": False, "subscriber": called}, as_json=as_json,
    )  # fmt: skip
    answer({"ok": True, "deliveries": found}, as_json=as_json, words=lambda _: _deliveries(found))


def _deliveries(found: list[dict[str, Any]]) -> None:
    shown = table(
        "Deliveries", "#number", "event", "order", "state", "#attempts", "last answer", "#ms"
    )
    for row in found:
        last = row["tried"][-1] if row["tried"] else None
        said = f"{last['why']}: {last['said']}" if last and last["said"] else last and last["why"]
        order = row["lane"] if row["lane"] != row["message"] else "-"  # a test is about none
        shown.add_row(
            str(row["id"]), row["about"], order, row["state"], cell(row["attempts"]),
            cell(said), cell(last and last["latency_ms"]),
        )  # fmt: skip
    console().print(shown if found else "There is none.")


def _change(
    change: Any,
    called: str,
    reason: str,
    operator: str | None,
    said: str,
    as_json: bool,  # noqa: FBT001
) -> None:
    id_ = _done(
        change(operations_of(settings()), called, who(operator), reason),
        {"ok": False, "subscriber": called}, as_json=as_json,
    )  # fmt: skip
    answer({"ok": True, "id": id_}, as_json=as_json, words=lambda to: to.print(said))


def _done(work: "Awaitable[T]", no: dict[str, Any], *, as_json: bool) -> "T":
    from streams.callbacks.subscribers import AsItIs, NoSuchSubscriber

    try:
        return run(work)
    except (AsItIs, NoSuchSubscriber) as error:
        refuse(no, str(error), as_json=as_json)


def _secret(id_: str, name: str, secret: str, *, as_json: bool) -> None:
    answer(
        {"ok": True, "id": id_, "name": name, "secret": secret},
        as_json=as_json,
        words=lambda to: to.print(
            f"{secret}\n\nThat is the secret by which {name} ({id_}) knows that a message is"
            " ours. Keep it now: it is not shown again.",
            markup=False,
        ),
    )
