"""
`orderflow import`: orders from a file, when the platform's own way is closed.

`orderflow import FILE` is the command; what follows `import` and is none of its other commands is
taken for the file and its options.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from streams.cli.answers import (
    BAD_INPUT,
    NO,
    AsJson,
    answer,
    cell,
    console,
    examples,
    run,
    settings,
    stop,
    table,
)
from streams.cli.operating import Operator, who

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from streams.importing.planning import Reading
    from streams.importing.receipts import RowVerdict
    from streams.importing.running import Look
    from streams.importing.store import Job, Wish
    from streams.settings import Settings

_FILE = "file"


class _FileOrCommand(TyperGroup):
    """A group whose first word may be a file."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take what is no command for the file's."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_FILE, *args]
        return super().parse_args(ctx, args)


importing = typer.Typer(
    cls=_FileOrCommand,
    help="Orders from a file: CSV, XLSX or JSON lines.\n\nFirst with --dry-run: it says how every "
    "time would be read, and what every row would meet. Exit codes: 0 done, 1 done and some rows "
    "were refused, 2 the file cannot be used and nothing of it was sent, 75 something does not "
    "answer (go on with `resume`).",
    epilog=examples(
        "orderflow import orders.csv --platform taobao --shop qingyou --zone Asia/Shanghai "
        "--dry-run",
        "orderflow import orders.csv --platform taobao --shop qingyou --zone Asia/Shanghai "
        "--reason 'webhooks down since 09:10'",
        "orderflow import templates taobao",
        "orderflow import resume 0199d2b4-5c1e-7f00-8a57-6d0c2f9b8e11",
    ),
    no_args_is_help=True,
)


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(importing, name="import", rich_help_panel="Operate")


Platform = Annotated[str, typer.Option("--platform", help="Whose orders these are, e.g. taobao.")]
Shop = Annotated[str, typer.Option("--shop", help="The shop, as the reference data calls it.")]
Zone = Annotated[
    str | None,
    typer.Option("--zone", help="Of times without an offset: Asia/Shanghai, +08:00. None assumed."),
]
Encoding = Annotated[
    str | None,
    typer.Option("--encoding", help="utf-8, gb18030, utf-16; unsaid: only what the bytes prove."),
]
Refused = Annotated[
    Path | None,
    typer.Option("--refused", help="Where the refused rows go; FILE.refused.csv if unsaid."),
]
Report = Annotated[
    Path | None, typer.Option("--report", help="Write the verdict of every row to this CSV.")
]
Within = Annotated[
    float,
    typer.Option("--timeout", min=1, help="Seconds without news of the ledger before giving up."),
]
Id = Annotated[str, typer.Argument(metavar="IMPORT")]


@importing.command(
    _FILE,
    epilog=examples(
        "orderflow import orders.csv --platform taobao --shop qingyou --zone Asia/Shanghai "
        "--dry-run",
        "orderflow import export.xlsx --platform shopify --shop jsmith --existing skip "
        "--reason 'webhooks down'",
        "orderflow import orders.csv --platform jd --shop main --column 单号=order_id "
        "--pass-over 备注 --reason outage",
    ),
)
def file(
    file: Annotated[Path, typer.Argument(help="CSV, XLSX or JSON lines.", metavar="FILE")],
    *,
    platform: Platform,
    shop: Shop,
    zone: Zone = None,
    encoding: Encoding = None,
    template: Annotated[
        str | None, typer.Option("--template", help="Which columns; the best fit if unsaid.")
    ] = None,
    sheet: Annotated[str | None, typer.Option("--sheet", help="Of a spreadsheet.")] = None,
    currency: Annotated[
        str | None, typer.Option("--currency", help="Of amounts, where the file says none.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="THEIRS=FIELD; may be given often.")
    ] = None,
    pass_over: Annotated[
        list[str] | None, typer.Option("--pass-over", help="A column that no field needs.")
    ] = None,
    existing: Annotated[
        str,
        typer.Option(
            "--existing",
            help="Known orders: `skip` leaves them alone, `update` lets the newest statement win, "
            "`force` counts the file as said now. None of them overrules stock, payment, "
            "completion or cancellation.",
        ),
    ] = "update",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; send and write nothing.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; it stays with the import. Needed to send.")
    ] = "",
    operator: Operator = None,
    refused: Refused = None,
    report: Report = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Rows shown of a dry run.")] = 20,
    timeout: Within = 120.0,
    as_json: AsJson = False,
) -> None:
    """Import orders from FILE."""
    from streams.importing.planning import Reading

    reading = Reading(
        platform, shop, template, encoding, sheet, zone, currency, _columns(column or []),
        tuple(pass_over or ()),
    )  # fmt: skip
    how = _existing(existing)
    to = refused or file.with_name(file.name + ".refused.csv")
    loaded = settings()
    if dry_run:
        _try(loaded, file, reading, how, to, report, limit, as_json=as_json)
        return
    if not reason.strip():
        stop("Say why with --reason; or look first with --dry-run.", BAD_INPUT)
    from streams.importing.running import wish_of

    wish = run(wish_of(file, reading, how, who(operator), reason))
    _carry_out(loaded, wish, None, to, report, timeout, as_json=as_json)


def _columns(said: list[str]) -> dict[str, str]:
    found = {}
    for each in said:
        theirs, is_, field = each.rpartition("=")
        if not is_ or not theirs or not field:
            stop(f"--column {each!r}: write THEIRS=FIELD, such as 单号=order_id.", BAD_INPUT)
        found[theirs] = field
    return found


def _existing(said: str) -> Any:
    from streams.importing.forecast import Existing

    try:
        return Existing(said)
    except ValueError:
        stop(f"--existing is one of {', '.join(Existing)}, not {said!r}.", BAD_INPUT)


# --- a dry run ------------------------------------------------------------------------------------


def _try(
    loaded: "Settings",
    file: Path,
    reading: "Reading",
    existing: Any,
    refused: Path,
    report: Path | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    from rich.console import Console

    from streams.importing import receipts, running

    with Console(stderr=True).status("reading") as status:
        look = run(running.dry_run(loaded, file, reading, existing, status.update))
    verdicts = receipts.of_forecast(look.forecast)
    bad = receipts.write_refused(look.plan.table, verdicts, refused)
    if report:
        receipts.write_report(verdicts, report)
    facts = _facts_of(look, bad, refused)
    answer(facts, as_json=as_json, words=lambda _: _show_look(look, facts, verdicts[:limit]))
    if bad:
        raise typer.Exit(NO)


def _facts_of(look: "Look", bad: int, refused: Path) -> dict[str, Any]:
    from datetime import UTC, datetime

    plan, found = look
    placed = [each.created_ms for each in found.outlooks if each.created_ms]
    ends = [
        datetime.fromtimestamp(ms / 1000, UTC) for ms in (min(placed), max(placed)) if placed
    ] if placed else [None, None]  # fmt: skip
    return {
        "ok": not bad,
        "dry_run": True,
        "kind": plan.table.kind,
        "encoding": plan.table.encoding,
        "template": plan.template,
        "passed_over": plan.passed_over,
        "times_read": plan.zones,
        "first_placed": ends[0],
        "last_placed": ends[1],
        "row_count": plan.row_count,
        "order_count": len(found.outlooks),
        "rows": found.rows,
        "orders": found.orders,
        "waiting_for_mapping": found.waiting,
        "refused_file": str(refused) if bad else None,
    }


def _show_look(look: "Look", facts: dict[str, Any], verdicts: "list[RowVerdict]") -> None:
    to = console()
    if verdicts:
        shown = table(
            "What the first rows would meet", "#row", "order", "would be", "placed, as said",
            "placed, as read", "why",
        )  # fmt: skip
        for each in verdicts:
            why = f"{each.field}: {each.reason}" if each.reason else ""
            shown.add_row(
                str(each.row), cell(each.order_id), each.verdict, cell(each.created_at_said),
                cell(each.created_at_utc), why,
            )  # fmt: skip
        to.print(shown)
    plan = look.plan
    encoding = f" in {plan.table.encoding}" if plan.table.encoding else ""
    to.print(f"A dry run; nothing was sent. {plan.table.kind}{encoding}, template {plan.template}.")
    times = ", ".join(
        f"{count:,} by their own offset" if zone == "offset" else f"{count:,} as {zone}"
        for zone, count in plan.zones.items()
    )
    to.print(f"Times: {times or 'none'}. Orders placed {_span(facts)}.")
    to.print(f"{plan.row_count:,} rows: {_counted(look.forecast.rows)}.")
    if plan.passed_over:
        to.print(f"Columns passed over: {', '.join(plan.passed_over)}.")
    if look.forecast.waiting:
        to.print(f"{look.forecast.waiting:,} orders would wait for the mapping of a SKU.")
    if facts["refused_file"]:
        to.print(f"The rows that are bad: {facts['refused_file']}")


def _span(facts: dict[str, Any]) -> str:
    from streams.clock import now_ms

    first, last = facts["first_placed"], facts["last_placed"]
    if last is None:
        return "at times the file does not say"
    minutes = round(now_ms() / 60_000 - last.timestamp() / 60)
    ago = f"{minutes / 60:,.1f} h ago" if minutes >= 0 else f"{-minutes} minutes from now"
    return f"from {first:%Y-%m-%d %H:%M:%S}Z to {last:%Y-%m-%d %H:%M:%S}Z, the last {ago}"


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "none"


# --- the import -----------------------------------------------------------------------------------


def _carry_out(
    loaded: "Settings",
    wish: "Wish | None",
    id_: str | None,
    refused: Path | None,
    report: Path | None,
    timeout: float,
    *,
    as_json: bool,
) -> None:
    from rich.console import Console

    with Console(stderr=True).status("reading") as status:
        job, bad, to = run(_worked(loaded, wish, id_, refused, report, timeout, status.update))
    facts = {"ok": job.state in ("done", "forecast") and not bad, **job.facts()}
    facts["refused_file"] = str(to) if bad else None
    answer(facts, as_json=as_json, words=lambda _: _show_job(job, facts))
    if not facts["ok"]:
        raise typer.Exit(BAD_INPUT if job.state == "refused" else NO)


async def _worked(
    loaded: "Settings",
    wish: "Wish | None",
    id_: str | None,
    refused: Path | None,
    report: Path | None,
    patience_s: float,
    progress: Any,
) -> "tuple[Job, int, Path]":
    from streams.importing import receipts, running
    from streams.importing.store import Jobs

    if wish is not None:
        id_ = await running.begin(loaded, wish)

    def looked(look: "Look") -> None:
        verdicts = receipts.of_forecast(look.forecast)
        if refused:
            receipts.write_refused(look.plan.table, verdicts, refused)
        if report:
            receipts.write_report(verdicts, report)

    job = await running.carry_out(loaded, id_ or "", progress, patience_s, looked)
    to = refused or Path(job.path + ".refused.csv")
    if job.state != "done":
        return job, 0, to
    async with Jobs.opened(loaded, reads=True) as jobs:
        bad = await receipts.refused_of(jobs, job, to)
        if report:
            receipts.write_report(await receipts.of_job(jobs, job), report)
    return job, bad, to


def _show_job(job: "Job", facts: dict[str, Any]) -> None:
    to = console()
    to.print(f"Import {job.id} of {job.file_name} for {job.platform}:{job.shop}: {job.state}.")
    if job.failure:
        to.print(f"Nothing was sent: {job.failure}")
    elif job.state == "done":
        to.print(f"{job.row_count:,} rows: {_counted(job.verdicts['rows'])}.")
        to.print(f"{job.order_count:,} orders: {_counted(job.verdicts['orders'])}.")
        if job.forecast.get("waiting"):
            to.print(f"{job.forecast['waiting']:,} orders wait for the mapping of a SKU.")
    elif job.forecast:
        to.print(f"Forecast of {job.row_count:,} rows: {_counted(job.forecast['rows'])}.")
        to.print(f"Sent: {job.sent:,} of {job.order_count:,} orders.")
    if facts.get("refused_file"):
        to.print(f"The rows that were refused: {facts['refused_file']}")


@importing.command(
    "resume",
    epilog=examples("orderflow import resume 0199d2b4-5c1e-7f00-8a57-6d0c2f9b8e11"),
)
def resume(
    id_: Id,
    *,
    refused: Refused = None,
    report: Report = None,
    timeout: Within = 120.0,
    as_json: AsJson = False,
) -> None:
    """Go on with an import whose process died, or whose receipt is not made yet."""
    _carry_out(settings(), None, id_, refused, report, timeout, as_json=as_json)


@importing.command("show", epilog=examples("orderflow import show 0199d2b4-… --json"))
def show(id_: Id, *, as_json: AsJson = False) -> None:
    """Show one import: who, why, how far, and what became of its rows."""
    from streams.importing.store import Jobs

    async def asked(loaded: "Settings") -> "Job":
        async with Jobs.opened(loaded, reads=True) as jobs:
            return await jobs.job(id_)

    job = run(asked(settings()))
    answer({"ok": True, **job.facts()}, as_json=as_json, words=lambda _: _show_job(job, {}))


@importing.command("list", epilog=examples("orderflow import list", "orderflow import list --json"))
def list_(
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest imports."""
    from streams.importing.store import Jobs

    async def asked(loaded: "Settings") -> "list[Job]":
        async with Jobs.opened(loaded, reads=True) as jobs:
            return await jobs.listed(limit)

    found = run(asked(settings()))
    answer(
        {"ok": True, "imports": [job.facts() for job in found]},
        as_json=as_json,
        words=lambda _: _show_list(found),
    )


def _show_list(found: "list[Job]") -> None:
    shown = table(
        "Imports", "import", "state", "file", "shop", "#rows", "#sent", "what became of them",
        "who", "why",
    )  # fmt: skip
    for job in found:
        rows = job.verdicts.get("rows") or {}
        said = _counted(rows) if rows else (job.failure or "")
        shown.add_row(
            job.id, job.state + (" (dry run)" if job.dry_run else ""), job.file_name,
            f"{job.platform}:{job.shop}", cell(job.row_count), cell(job.sent), said,
            job.operator, job.reason,
        )  # fmt: skip
    console().print(shown)


@importing.command(
    "templates",
    epilog=examples("orderflow import templates", "orderflow import templates shopify --csv"),
)
def templates(
    name: Annotated[str | None, typer.Argument(help="One of them.", metavar="TEMPLATE")] = None,
    *,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print an empty file with the template's columns.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print which column of which platform's export is which field."""
    from streams.importing import planning
    from streams.importing import templates as known

    found = planning.names(name)
    if as_csv:
        if name is None:
            stop("Name one template to print as CSV.", BAD_INPUT)
        print(",".join(found[0].columns or known.FIELDS))  # noqa: T201  this is the terminal
        return
    facts = [
        {**each._asdict(), "columns": dict(each.columns or {f: f for f in known.FIELDS}),
         "statuses": dict(each.statuses), "refunds": dict(each.refunds)}
        for each in found
    ]  # fmt: skip
    answer(
        {"ok": True, "templates": facts}, as_json=as_json, words=lambda _: _show_templates(facts)
    )


def _show_templates(facts: list[dict[str, Any]]) -> None:
    from streams.importing.templates import FIELDS

    for template in facts:
        shown = table(f"{template['name']}: {template['title']}", "column", "field", "how", "what")
        for theirs, field in template["columns"].items():
            about = FIELDS[field]
            shown.add_row(theirs, field, about.kind.value, about.means)
        console().print(shown)
        usual = ", ".join(template["zones"])
        console().print(f"Times without an offset need --zone; usual here: {usual}.\n")
