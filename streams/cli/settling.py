"""`orderflow settlement`: platforms' settlement files against our orders."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import (
    BAD_INPUT,
    AsJson,
    answer,
    cell,
    examples,
    refuse,
    run,
    settings,
    stop,
    table,
)
from streams.cli.operating import Operator, who
from streams.postgres.addresses import operations_of, reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from rich.console import Console

    from streams.settings import Settings
    from streams.settlements.reading import Reading

_FILE_ID = "0199d2b4-5c1e-7f00-8a57-6d0c2f9b8e11"
_ORDER = "taobao:qingyou:2771944107739206615"

settling = typer.Typer(
    help="Platforms' settlement files against our orders.\n\nFirst with --dry-run: it says what "
    "every kind of line comes to, and how many of its orders are known. A file is taken whole or "
    "not at all, and the same file twice is one. Exit codes: 0 done, 1 the answer is no, 2 the "
    "file cannot be used and nothing of it was taken, 75 something does not answer.",
    epilog=examples(
        "orderflow settlement upload bill.csv --platform taobao --shop qingyou "
        "--encoding gb18030 --dry-run",
        "orderflow settlement differences --shop qingyou",
        f"orderflow settlement resolve {_ORDER} --reason 'coupon borne by the platform'",
    ),
    no_args_is_help=True,
)

AnyPlatform = Annotated[str, typer.Option("--platform", help="Of one platform alone.")]
AnyShop = Annotated[str, typer.Option("--shop", help="Of one shop alone.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it stays on record.")]
FileId = Annotated[str, typer.Argument(metavar="FILE-ID", help="As `settlement list` has it.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(settling, name="settlement", rich_help_panel="Operate")


@settling.command(
    "upload",
    epilog=examples(
        "orderflow settlement upload bill.csv --platform taobao --shop qingyou "
        "--encoding gb18030 --dry-run",
        "orderflow settlement upload 动账明细.xlsx --platform douyin --shop shanjiao",
        "orderflow settlement upload payouts.csv --platform shopify --shop jsmith --operator mei",
    ),
)
def upload(
    file: Annotated[Path, typer.Argument(help="CSV or XLSX.", metavar="FILE")],
    *,
    platform: Annotated[str, typer.Option("--platform", help="Whose file it is, e.g. taobao.")],
    shop: Annotated[str, typer.Option("--shop", help="The shop, as the reference data calls it.")],
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", help="utf-8, gb18030, utf-16; unsaid: what the bytes prove."),
    ] = None,
    sheet: Annotated[str | None, typer.Option("--sheet", help="Of a spreadsheet.")] = None,
    zone: Annotated[
        str | None,
        typer.Option("--zone", help="Of times without an offset, instead of the template's."),
    ] = None,
    pass_over: Annotated[
        list[str] | None, typer.Option("--pass-over", help="A column without money in it.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What its owner calls it.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be taken; write nothing.")
    ] = False,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Take a settlement file, and match it with our orders."""
    from streams.settlements.reading import Reading

    reading = Reading(platform, shop, encoding, sheet, zone, tuple(pass_over or ()))
    loaded = settings()
    if dry_run:
        _look(loaded, file, reading, as_json=as_json)
        return
    _take(loaded, file, name or file.name, reading, who(operator), as_json=as_json)


def _look(loaded: "Settings", file: Path, reading: "Reading", *, as_json: bool) -> None:
    from rich.console import Console

    from streams.settlements import taking

    async def looked(progress: Any) -> dict[str, Any]:
        found = await taking.look(file, reading, progress)
        return await taking.look_facts(loaded, found, reading)

    with Console(stderr=True).status("reading") as status:
        facts = run(looked(status.update))
    answer(facts, as_json=as_json, words=lambda to: _show_look(to, facts))
    if not facts["ok"]:
        raise typer.Exit(BAD_INPUT)


def _show_look(to: "Console", facts: dict[str, Any]) -> None:
    _show_sums(to, facts["sums"])
    encoding = f" in {facts['encoding']}" if facts["encoding"] else ""
    to.print(f"A dry run; nothing was taken. {facts['kind']}{encoding}, {facts['title']}.")
    if facts["names"]:
        to.print(f"It tells which orders {facts['names']:,} names are.")
    else:
        to.print(
            f"{facts['rows']:,} rows, {facts['lines']:,} lines of {facts['orders']:,} orders, of "
            f"which {facts['orders_known']:,} are known; from {_moment(facts['first_ms'])} to "
            f"{_moment(facts['last_ms'])}."
        )
    if facts["adds_up"] is False:
        to.print("Its lines do not come to what the file says: it may be cut off.")
    if facts["passed_over"]:
        to.print(f"Columns passed over: {', '.join(facts['passed_over'])}.")
    for bad in facts["bad"]:
        to.print(f"Row {bad['row']}: {bad['field']}: {bad['reason']}.")
    if facts["bad_rows"]:
        to.print(
            f"{facts['bad_rows']:,} rows cannot be used; the file is not taken until they can."
        )


def _show_sums(to: "Console", sums: list[dict[str, Any]]) -> None:
    shown = table("What the lines come to", "kind", "word", "#lines", "#amount", "currency")
    for each in sums:
        shown.add_row(
            each["kind"], each["word"], cell(each["lines"]),
            _amount(each["amount_minor"], each["currency"]), each["currency"],
        )  # fmt: skip
    if sums:
        to.print(shown)


def _amount(minor: int | None, currency: str | None) -> str:
    from streams.console.money import amount

    return amount(minor, currency) or "-"


def _moment(ms: int | None) -> str:
    from datetime import UTC, datetime

    return "-" if ms is None else f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d %H:%M:%S}Z"


def _take(
    loaded: "Settings", file: Path, name: str, reading: "Reading", operator: str, *, as_json: bool
) -> None:
    from rich.console import Console

    from streams.settlements import taking

    with Console(stderr=True).status("reading") as status:
        taken = run(taking.take(loaded, file, name, reading, operator, status.update))
    facts = {"ok": True, **taken._asdict()}
    if taken.is_known:
        said = f"This very file was taken before, as {taken.id}; nothing changed."
    elif taken.name_count:
        said = f"Taken as {taken.id}: it tells which orders {taken.name_count:,} names are."
    else:
        said = f"Taken as {taken.id}: {taken.line_count:,} lines of {taken.order_count:,} orders."
    if taken.repeat_count:
        said += f" {taken.repeat_count:,} more were known before, and count once."
    counted = ", ".join(f"{count:,} {verdict}" for verdict, count in taken.verdicts.items())

    def words(to: "Console") -> None:
        to.print(said)
        if counted:
            to.print(f"Judged: {counted}.")

    answer(facts, as_json=as_json, words=words)


@settling.command("list", epilog=examples("orderflow settlement list --platform amazon --json"))
def list_(
    *,
    platform: AnyPlatform = "",
    shop: AnyShop = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest files."""
    from streams.settlements.store import Settlements

    async def asked(loaded: "Settings") -> list[dict[str, Any]]:
        async with Settlements.opened(reader_of(loaded)) as known:
            return await known.files(None, platform or None, shop or None, limit)

    found = run(asked(settings()))

    def words(to: "Console") -> None:
        shown = table(
            "Settlement files", "file", "name", "shop", "taken", "from", "until", "#lines",
            "#repeats", "#orders", "who",
        )  # fmt: skip
        for each in found:
            withdrawn = " (withdrawn)" if each["withdrawn_at"] else ""
            shown.add_row(
                each["id"], each["file_name"] + withdrawn, f"{each['platform']}:{each['shop']}",
                cell(each["taken_at"]), cell(each["period_from"]), cell(each["period_until"]),
                cell(each["line_count"]), cell(each["repeat_count"]), cell(each["order_count"]),
                each["operator"],
            )  # fmt: skip
        to.print(shown)

    answer({"ok": True, "files": found}, as_json=as_json, words=words)


@settling.command(
    "show", epilog=examples(f"orderflow settlement show {_FILE_ID}", "orderflow settlement list")
)
def show(id_: FileId, *, as_json: AsJson = False) -> None:
    """Show one file: what its lines come to, and which of them another file brought before."""
    from streams.settlements.store import Settlements

    async def asked(loaded: "Settings") -> dict[str, Any]:
        async with Settlements.opened(reader_of(loaded)) as known:
            return await known.file(id_) | {"repeats": await known.repeats(id_)}

    file = run(asked(settings()))

    def words(to: "Console") -> None:
        _show_sums(to, file["sums"])
        to.print(
            f"{file['file_name']} of {file['platform']}:{file['shop']} ({file['template']}), taken "
            f"{cell(file['taken_at'])} by {file['operator']}."
        )
        if file["adds_up"] is False:
            to.print("Its lines do not come to what the file says: it may be cut off.")
        if file["withdrawn_at"]:
            to.print(f"Withdrawn by {file['withdrawn_by']}: {file['withdrawn_why']}.")
        for each in file["repeats"]:
            to.print(
                f"Line {each['line']} counts once: line {each['first_line']} of "
                f"{each['first_file']} is the same."
            )

    answer({"ok": True, **file}, as_json=as_json, words=words)


@settling.command(
    "differences",
    epilog=examples(
        "orderflow settlement differences --verdict only_in_file",
        "orderflow settlement differences --platform douyin --shop shanjiao --json",
    ),
)
def differences(
    *,
    verdict: Annotated[
        str, typer.Option("--verdict", help="Such as paid_differs or only_with_us.")
    ] = "",
    platform: AnyPlatform = "",
    shop: AnyShop = "",
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Those that were resolved too.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=5000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what differs, latest first, and count what is open."""
    from streams.settlements.store import Filter, Settlements

    wanted = Filter(verdict, platform, shop, resolved)

    async def asked(loaded: "Settings") -> tuple[list[dict[str, Any]], dict[str, int]]:
        async with Settlements.opened(reader_of(loaded)) as known:
            return await known.differences(wanted, None, limit), await known.counts(wanted)

    found, counts = run(asked(settings()))

    def words(to: "Console") -> None:
        shown = table(
            "What differs", "order", "verdict", "#paid, ours", "#theirs", "#refunded, ours",
            "#theirs", "#fees", "currency", "at", "open",
        )  # fmt: skip
        for each in found:
            theirs = "+".join(each["currencies"]) or None
            shown.add_row(
                each["order_key"], each["verdict"],
                _amount(each["our_paid_minor"], each["our_currency"]),
                _amount(each["paid_minor"], theirs),
                _amount(each["our_refunded_minor"], each["our_currency"]),
                _amount(each["refunded_minor"], theirs), _amount(each["fees_minor"], theirs),
                theirs or each["our_currency"] or "-", cell(each["at"]), cell(each["is_open"]),
            )  # fmt: skip
        to.print(shown)
        counted = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        to.print(f"Open: {counted or 'none'}.")

    answer({"ok": True, "open": counts, "differences": found}, as_json=as_json, words=words)


@settling.command("order", epilog=examples(f"orderflow settlement order {_ORDER}"))
def order(
    key: Annotated[str, typer.Argument(metavar="ORDER", help="platform:shop:id.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show how one order stands: its lines, its fees, and what people said."""
    from streams.settlements.store import Settlements

    async def asked(loaded: "Settings") -> dict[str, Any] | None:
        async with Settlements.opened(reader_of(loaded)) as known:
            return await known.order(key)

    found = run(asked(settings()))
    if found is None:
        refuse(
            {"ok": False, "order": None}, f"No settlement file says anything of {key}.",
            as_json=as_json,
        )  # fmt: skip

    def words(to: "Console") -> None:
        shown = table(key, "file", "#line", "kind", "word", "#amount", "currency", "at")
        for each in found["lines"]:
            shown.add_row(
                each["file_name"], cell(each["line"]), each["kind"], each["word"],
                _amount(each["amount_minor"], each["currency"]), each["currency"],
                cell(each["at"]),
            )  # fmt: skip
        to.print(shown)
        to.print(f"{found['verdict']}{' (open)' if found['is_open'] else ''}: {found['facts']}.")
        for each in found["resolutions"]:
            to.print(f"{cell(each['at'])} {each['by']}: {each['why']} ({each['facts']}).")

    answer({"ok": True, **found}, as_json=as_json, words=words)


@settling.command(
    "resolve",
    epilog=examples(
        f"orderflow settlement resolve {_ORDER} --reason 'coupon borne by the platform'",
        f"orderflow settlement resolve {_ORDER} taobao:qingyou:2771944107739206616 "
        "--operator mei --reason 'booked by hand, voucher 4711'",
    ),
)
def resolve(
    orders: Annotated[list[str], typer.Argument(metavar="ORDER...", help="platform:shop:id.")],
    *,
    reason: Reason,
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Resolve open differences, for the facts as they are; they open again when facts change."""
    from streams.settlements.store import Settlements

    if not reason.strip():
        stop("Say why with --reason; it stays with the difference.", BAD_INPUT)

    async def asked(loaded: "Settings") -> tuple[list[str], dict[str, str]]:
        async with Settlements.opened(operations_of(loaded)) as known:
            done = await known.resolve(dict.fromkeys(orders), who(operator), reason)
            left = sorted(set(orders) - set(done))
            return done, {key: _stands(await known.order(key)) for key in left}

    done, left = run(asked(settings()))
    facts = {"ok": not left, "resolved": done, "not_open": list(left), "why": left}
    if left:
        said = "; ".join(f"{key}: {why}" for key, why in left.items())
        refuse(facts, f"{len(done)} resolved. Not open: {said}.", as_json=as_json)
    answer(facts, as_json=as_json, words=lambda to: to.print(f"{len(done)} resolved."))


def _stands(order: dict[str, Any] | None) -> str:
    """Say why nothing of *order* is open."""
    if order is None:
        return "no settlement file says anything of it"
    last = next(iter(order["resolutions"]), None)
    if last is None or last["facts"] != order["facts"]:
        return f"it is {order['verdict']}"
    return f"{last['by']} resolved it at {cell(last['at'])}: {last['why']}"


@settling.command(
    "match",
    epilog=examples(
        "orderflow settlement match   (every shop; daily, behind the report)",
        "orderflow settlement match --platform douyin --shop shanjiao",
    ),
)
def match(*, platform: AnyPlatform = "", shop: AnyShop = "", as_json: AsJson = False) -> None:
    """Judge anew: orders change after their file was taken."""
    from rich.console import Console

    from streams.settlements.store import Settlements

    if bool(platform) != bool(shop):
        stop("Name both --platform and --shop, or neither for every shop.", BAD_INPUT)

    async def asked(loaded: "Settings", progress: Any) -> dict[str, dict[str, int]]:
        async with Settlements.opened(operations_of(loaded)) as known:
            shops = [(platform, shop)] if shop else await known.shops()
            found = {}
            for each in shops:
                progress(":".join(each))
                found[":".join(each)] = await known.match(*each)
            return found

    loaded = settings()
    with Console(stderr=True).status("matching") as status:
        found = run(asked(loaded, status.update))

    def words(to: "Console") -> None:
        for name, verdicts in found.items():
            counted = ", ".join(f"{count:,} {verdict}" for verdict, count in verdicts.items())
            to.print(f"{name}: {counted or 'nothing to judge'}.")
        if not found:
            to.print("No file was taken yet.")

    answer({"ok": True, "shops": found}, as_json=as_json, words=words)


@settling.command(
    "withdraw",
    epilog=examples(f"orderflow settlement withdraw {_FILE_ID} --reason 'of another shop'"),
)
def withdraw(
    id_: FileId, *, reason: Reason, operator: Operator = None, as_json: AsJson = False
) -> None:
    """Let a file count no more, with all its lines; who and why stay."""
    from streams.settlements.store import Settlements

    if not reason.strip():
        stop("Say why with --reason; it stays with the file.", BAD_INPUT)

    async def asked(loaded: "Settings") -> dict[str, int]:
        async with Settlements.opened(operations_of(loaded)) as known:
            return await known.withdraw(id_, who(operator), reason)

    verdicts = run(asked(settings()))
    answer(
        {"ok": True, "file": id_, "verdicts": verdicts},
        as_json=as_json,
        words=lambda to: to.print(f"{id_} counts no more."),
    )


@settling.command("templates", epilog=examples("orderflow settlement templates"))
def templates(*, as_json: AsJson = False) -> None:
    """Print which column of which platform's file is what, as docs/settlement.md has it."""
    from streams.settlements import templates as known

    facts = [
        {
            "name": each.name, "title": each.title, "platforms": list(each.platforms),
            "columns": [column._asdict() for column in each.columns],
            "kinds": [list(pair) for pair in each.kinds], "passes": sorted(each.passes),
            "currency": each.currency, "zone": each.zone,
            "settles_within_days": each.settles_within.days, "nets_refunds": each.nets_refunds,
        }
        for each in known.TEMPLATES.values()
    ]  # fmt: skip
    answer(
        {"ok": True, "templates": facts}, as_json=as_json,
        words=lambda to: to.print(known.page(), end=""),
    )  # fmt: skip
