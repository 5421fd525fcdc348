"""Commands that work off the exceptions queue: list, show, edit, retry, discard."""

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
from streams.cli.operating import Operator, Reason, who
from streams.postgres.addresses import operations_of, reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from streams.exceptions.queue import Kind, Settled
    from streams.settings import Settings

exceptions = typer.Typer(
    help="The exceptions queue: messages that could not be handled.",
    epilog=examples("orderflow exceptions list"),
    no_args_is_help=True,
)
Ids = Annotated[
    list[str] | None, typer.Argument(help="topic/partition/offset, one or more.", metavar="ID…")
]
IdOfOne = Annotated[str, typer.Argument(help="topic/partition/offset.", metavar="ID")]
Cause = Annotated[str | None, typer.Option("--cause", help="Open ones of this cause.")]
Stage = Annotated[str | None, typer.Option("--stage", help="Met there: intake, orders, …")]
Platform = Annotated[str | None, typer.Option("--platform", help="Of this platform.")]
Shop = Annotated[str | None, typer.Option("--shop", help="Of this shop.")]
Place = Annotated[str | None, typer.Option("--place", help="Whose ID begins with this.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count them, and do nothing.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(exceptions, name="exceptions", rich_help_panel="Operate")


@exceptions.command(
    "list",
    epilog=examples(
        "orderflow exceptions list",
        "orderflow exceptions list --platform douyin --cause unknown_shop --limit 200 --json",
    ),
)
def list_(
    *,
    cause: Cause = None,
    stage: Stage = None,
    platform: Platform = None,
    shop: Shop = None,
    place: Place = None,
    settled: Annotated[bool, typer.Option("--settled", help="Those settled before too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the messages that wait for a person, with reason and field; latest first."""
    from streams.exceptions import queue, showing

    kind = queue.Kind(cause=cause, stage=stage, platform=platform, shop=shop, place=place)
    found = run(queue.listed(reader_of(settings()), kind, limit, settled=settled))
    lines = [showing.line(row, whole=False) for row in found.exceptions]
    answer(
        {"ok": True, "open": found.open, "exceptions": lines},
        as_json=as_json,
        words=lambda _: _list(found.open, lines),
    )


def _list(count: int, found: list[dict[str, Any]]) -> None:
    to = console()
    if not found:
        to.print("There are no such exceptions.")
        return
    shown = table(f"{count:,} open", "where", "cause", "field", "reason", "#times", "last (UTC)")
    for row in found:
        shown.add_row(
            row["id"], row["cause"], cell(row["field"]), row["reason"], cell(row["attempts"]),
            cell(row["last_seen_at"]),
        )  # fmt: skip
    to.print(shown)


@exceptions.command(
    "show",
    epilog=examples(
        "orderflow exceptions show raw-orders-taobao/3/1207",
        "orderflow exceptions show raw-orders-taobao/3/1207 --raw > message.json",
    ),
)
def show(
    id_: IdOfOne,
    *,
    raw: Annotated[
        bool, typer.Option("--raw", help="The bytes as a retry sends them, personal data and all.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one exception: its reason, its history, and what it says with the personal hidden."""
    import sys

    from streams.exceptions import queue, showing

    row = run(queue.one(reader_of(settings()), id_))
    if row is None:
        refuse(
            {"ok": False, "id": id_},
            f"There is no exception {id_}; look at `orderflow exceptions list`.",
            as_json=as_json,
        )
    if raw:
        sys.stdout.buffer.write(queue.sent(row))
        return
    facts = showing.facts(row, whole=False)
    answer({"ok": True, **facts}, as_json=as_json, words=lambda _: _show(facts))


def _show(facts: dict[str, Any]) -> None:
    import orjson

    head = table(facts["id"], "what", "value")
    for name in (
        "stage", "cause", "field", "reason", "platform", "shop", "attempts", "first_seen_at",
        "last_seen_at", "edits", "settled_at", "settled_as", "settled_by", "settled_why", "bytes",
        "retry",
    ):  # fmt: skip
        if facts.get(name) not in (None, ""):
            head.add_row(name.replace("_", " "), cell(facts[name]))
    to = console()
    to.print(head)
    said = facts["value"] if facts["edited"] is None else facts["edited"]
    text = (
        said if isinstance(said, str) else orjson.dumps(said, option=orjson.OPT_INDENT_2).decode()
    )
    to.print(text, markup=False)
    if facts["changes"]:
        changes = table("What was done", "at (UTC)", "what", "who", "why")
        for each in facts["changes"]:
            changes.add_row(cell(each["at"]), each["did"], each["by"], each["why"])
        to.print(changes)


@exceptions.command(
    "edit",
    epilog=examples(
        "orderflow exceptions show raw-orders-taobao/3/1207 --raw > message.json",
        "orderflow exceptions edit raw-orders-taobao/3/1207 message.json --reason 'it was three'",
        "orderflow exceptions retry raw-orders-taobao/3/1207 --reason 'it was three'",
    ),
)
def edit(
    id_: IdOfOne,
    file: Annotated[
        Path, typer.Argument(help="The message as it should have been.", metavar="FILE")
    ],
    *,
    reason: Reason,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Correct a platform's message; a retry sends what FILE holds. Before and after are kept."""
    from streams.exceptions import queue

    try:
        body = file.read_bytes()
    except OSError as error:
        stop(f"{file}: {error.strerror}.", BAD_INPUT)
    done = run(queue.edit(operations_of(settings()), id_, body, who(operator), reason))
    _say([done], as_json=as_json)


@exceptions.command(
    "retry",
    epilog=examples(
        "orderflow exceptions retry raw-orders-taobao/3/1207 --reason 'the shop is known now'",
        "orderflow exceptions retry --cause unknown_shop --platform douyin --dry-run --reason x",
    ),
)
def retry(
    ids: Ids = None,
    *,
    reason: Reason,
    cause: Cause = None,
    stage: Stage = None,
    platform: Platform = None,
    shop: Shop = None,
    place: Place = None,
    operator: Operator = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Send messages once more, the way they came; what still cannot be read is open again."""
    from streams.exceptions import queue

    loaded = settings()
    kind = queue.Kind(cause=cause, stage=stage, platform=platform, shop=shop, place=place)
    wanted = _wanted(loaded, ids, kind)
    if dry_run:
        _count(wanted, "retried", as_json=as_json)
        return
    done = run(queue.retry(loaded, operations_of(loaded), wanted, who(operator), reason))
    _say(done, as_json=as_json)


@exceptions.command(
    "discard",
    epilog=examples(
        "orderflow exceptions discard raw-orders-taobao/3/1207 --reason 'a test of theirs'",
        "orderflow exceptions discard --cause unknown_shop --shop old-shop --dry-run --reason x",
    ),
)
def discard(
    ids: Ids = None,
    *,
    reason: Reason,
    cause: Cause = None,
    stage: Stage = None,
    platform: Platform = None,
    shop: Shop = None,
    place: Place = None,
    operator: Operator = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Leave messages for good; they stay on record with who said so and why."""
    from streams.exceptions import queue

    loaded = settings()
    kind = queue.Kind(cause=cause, stage=stage, platform=platform, shop=shop, place=place)
    wanted = _wanted(loaded, ids, kind)
    if dry_run:
        _count(wanted, "discarded", as_json=as_json)
        return
    _say(run(queue.discard(operations_of(loaded), wanted, who(operator), reason)), as_json=as_json)


def _wanted(loaded: "Settings", ids: list[str] | None, kind: "Kind") -> list[str]:
    from streams.exceptions import queue

    if bool(ids) != kind.is_any:
        stop("Give IDs, or --cause, --stage, --platform, --shop, --place; one of both.", BAD_INPUT)
    if ids:
        return list(dict.fromkeys(ids))
    return run(queue.matching(reader_of(loaded), kind))


def _count(wanted: list[str], word: str, *, as_json: bool) -> None:
    answer(
        {"ok": True, "count": len(wanted), "ids": wanted},
        as_json=as_json,
        words=lambda to: to.print(f"A dry run: {len(wanted):,} would be {word}."),
    )


def _say(done: "list[Settled]", *, as_json: bool) -> None:
    counts: dict[str, int] = {}
    for each in done:
        counts[each.outcome] = counts.get(each.outcome, 0) + 1
    facts = {"ok": "refused" not in counts, "counts": counts, "messages": done}
    counted = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(counts.items()))
    refused = [each for each in done if each.outcome == "refused"]
    if refused:
        refuse(
            facts, f"{counted}; the first refused: {refused[0].id}: {refused[0].said}.",
            as_json=as_json,
        )  # fmt: skip
    answer(facts, as_json=as_json, words=lambda to: to.print(f"{counted or 'There are none'}."))
