"""Commands about SKU mappings: which SKU of ours a shop's SKU is, since when, and who said so."""

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
from streams.cli.operating import Operator, who
from streams.cli.setting_up import reference
from streams.postgres.addresses import reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from streams.mapping.table import Verdict, Wish, Written
    from streams.settings import Settings

sku = typer.Typer(
    help="Which SKU of ours a shop's SKU is, and since when.",
    epilog=examples(
        "orderflow sku map douyin shanjiao 3401880047719220 MOUSE-PAD --why 'new listing'",
        "orderflow sku import mappings.csv --why 'autumn catalogue' --dry-run",
        "orderflow reference publish --every 5",
    ),
    no_args_is_help=True,
)
#: Verdicts that a person is shown; `--json` has all.
_SHOWN_MAX = 50

Platform = Annotated[str, typer.Argument(help="Such as douyin.", metavar="PLATFORM")]
Shop = Annotated[str, typer.Argument(help="The shop, as in the reference data.", metavar="SHOP")]
Theirs = Annotated[str, typer.Argument(help="The shop's merchant or platform SKU.")]
Why = Annotated[str, typer.Option("--why", help="What for; it stays in the history.")]
From = Annotated[
    str,
    typer.Option(
        "--from", help="Since when, with its zone; else always (the first) or now (a change)."
    ),
]
Until = Annotated[str, typer.Option("--until", help="Until when, with its zone; else for good.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and do nothing.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(sku, name="sku", rich_help_panel="Operate")


@sku.command(
    "map",
    epilog=examples(
        "orderflow sku map douyin shanjiao 3401880047719220 MOUSE-PAD --why 'new listing'",
        "orderflow sku map taobao qingyou OLD-1 RUG-2 --why relaunch "
        "--from 2026-11-11T00:00:00+08:00",
    ),
)
def map_(
    platform: Platform,
    shop: Shop,
    theirs: Theirs,
    ours: Annotated[str, typer.Argument(help="Our SKU; a kit's name too.")],
    *,
    why: Why,
    from_: From = "",
    until: Until = "",
    operator: Operator = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Say which SKU of ours it is; orders that wait for it go on by themselves."""
    _one(platform, shop, theirs, ours, (from_, until), why, operator, dry_run, as_json)


@sku.command(
    "unmap",
    epilog=examples(
        "orderflow sku unmap douyin shanjiao 3401880047719220 --why 'delisted'",
        "orderflow sku unmap douyin shanjiao 3401880047719220 --ever --why 'mapped by mistake'",
    ),
)
def unmap(
    platform: Platform,
    shop: Shop,
    theirs: Theirs,
    *,
    why: Why,
    from_: From = "",
    until: Until = "",
    ever: Annotated[bool, typer.Option("--ever", help="As if it had never been mapped.")] = False,
    operator: Operator = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """End a mapping now, or at a time; orders of before keep it."""
    _one(platform, shop, theirs, None, (from_, until), why, operator, dry_run, as_json, ever=ever)


@sku.command(
    "import",
    epilog=examples(
        "orderflow sku import mappings.csv --why 'autumn catalogue' --dry-run",
        "orderflow sku import mappings.csv --why 'autumn catalogue'   (columns "
        "platform,shop,theirs,ours and maybe from,until,why)",
    ),
)
def import_(
    file: Annotated[Path, typer.Argument(help="CSV; an empty `ours` unmaps.", metavar="FILE.csv")],
    *,
    why: Why,
    operator: Operator = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take mappings from a file, with a verdict for every row; one bad row, and none is taken."""
    from streams.mapping import files
    from streams.mapping.table import Verdict, Wish, Written

    rows = files.read(file, why)
    unreadable = [
        (line, Verdict(Wish("", "", "", None), "refused", said))
        for line, said in rows
        if isinstance(said, str)
    ]
    wishes = [(line, wish) for line, wish in rows if not isinstance(wish, str)]
    # What cannot even be read makes a dry run of it: every row gets its verdict all the same.
    loaded = settings()
    done = _write(
        loaded, [wish for _, wish in wishes], operator, dry_run=dry_run or bool(unreadable)
    )
    lines = [line for line, _ in wishes]
    numbered = sorted(
        [*zip(lines, done.verdicts, strict=True), *unreadable], key=lambda each: each[0]
    )
    _say(
        Written([verdict for _, verdict in numbered], done.is_written),
        [line for line, _ in numbered],
        dry_run=dry_run,
        as_json=as_json,
    )


def _one(
    platform: str,
    shop: str,
    theirs: str,
    ours: str | None,
    times: tuple[str, str],
    why: str,
    operator: str | None,
    dry_run: bool,  # noqa: FBT001  private: passed through from an option
    as_json: bool,  # noqa: FBT001  the same
    *,
    ever: bool = False,
) -> None:
    from streams.mapping import files
    from streams.mapping.table import Wish

    try:
        from_ms, until_ms = (files.instant(each) for each in times)
    except ValueError as error:
        stop(f"{error}.", BAD_INPUT)
    if ever and (from_ms is not None or until_ms is not None):
        stop("--ever is for all time; leave out --from and --until.", BAD_INPUT)
    wish = Wish(platform, shop, theirs, ours, from_ms, until_ms, ever, why)
    done = _write(settings(), [wish], operator, dry_run=dry_run)
    _say(done, [], dry_run=dry_run, as_json=as_json)


def _write(
    loaded: "Settings", wishes: "list[Wish]", operator: str | None, *, dry_run: bool
) -> "Written":
    from streams.clock import now_ms
    from streams.mapping import table as mappings
    from streams.postgres.addresses import ledger_of

    return run(mappings.write(ledger_of(loaded), wishes, who(operator), now_ms(), dry_run=dry_run))


def _say(done: "Written", lines: list[int], *, dry_run: bool, as_json: bool) -> None:
    """Say every verdict; the exit code is 1 where one is refused."""
    verdicts = [_facts(verdict, nth, lines) for nth, verdict in enumerate(done.verdicts)]
    counts: dict[str, int] = {}
    for verdict in done.verdicts:
        counts[verdict.outcome] = counts.get(verdict.outcome, 0) + 1
    facts = {
        "ok": not done.refused,
        "written": done.is_written,
        "counts": counts,
        "verdicts": verdicts,
    }
    counted = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(counts.items()))
    if done.refused:
        first = next(each for each in verdicts if each["outcome"] == "refused")
        at = f"line {first['line']}: " if "line" in first else ""
        refuse(
            facts,
            f"Nothing was written ({counted}); the first refused: {at}{first['said']}.",
            as_json=as_json,
        )
    answer(facts, as_json=as_json, words=lambda _: _show(verdicts, counted, dry_run=dry_run))


def _facts(verdict: "Verdict", nth: int, lines: list[int]) -> dict[str, Any]:
    wish = verdict.wish
    return {
        **({"line": lines[nth]} if lines else {}),
        "platform": wish.platform,
        "shop": wish.shop,
        "theirs": wish.theirs,
        "ours": wish.ours,
        "outcome": verdict.outcome,
        "said": verdict.said,
    }


def _show(verdicts: list[dict[str, Any]], counted: str, *, dry_run: bool) -> None:
    to = console()
    shown = table("", "platform", "shop", "theirs", "ours", "verdict", "before")
    for each in verdicts[:_SHOWN_MAX]:
        shown.add_row(
            each["platform"], each["shop"], each["theirs"], cell(each["ours"]), each["outcome"],
            cell(each["said"]),
        )  # fmt: skip
    to.print(shown)
    if len(verdicts) > _SHOWN_MAX:
        to.print(f"… and {len(verdicts) - _SHOWN_MAX:,} more; --json has them all.")
    to.print(
        f"A dry run: nothing was written; it would be {counted}." if dry_run else f"{counted}."
    )


@sku.command(
    "list",
    epilog=examples("orderflow sku list", "orderflow sku list --platform douyin --sku MOUSE-PAD"),
)
def list_(
    *,
    platform: Annotated[str | None, typer.Option("--platform", help="Of this platform.")] = None,
    shop: Annotated[str | None, typer.Option("--shop", help="Of this shop.")] = None,
    word: Annotated[str | None, typer.Option("--sku", help="Theirs or ours.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=5_000, help="At most so many.")] = 200,
    as_json: AsJson = False,
) -> None:
    """List mappings, those that ended or are planned too."""
    from streams.mapping import table as mappings

    found = run(mappings.listed(reader_of(settings()), platform, shop, word, limit))
    answer({"ok": True, "mappings": found}, as_json=as_json, words=lambda _: _list(found))


def _list(found: list[dict[str, Any]]) -> None:
    shown = table(
        "Mappings", "platform", "shop", "theirs", "ours", "from (UTC)", "until (UTC)", "who: why"
    )
    for row in found:
        shown.add_row(
            row["platform"], row["shop"], row["theirs"], row["ours"], cell(row["valid_from"]),
            cell(row["valid_to"]), f"{row['changed_by']}: {row['changed_why']}",
        )  # fmt: skip
    console().print(shown if found else "There are no such mappings.")


@sku.command("history", epilog=examples("orderflow sku history douyin shanjiao 3401880047719220"))
def history(platform: Platform, shop: Shop, theirs: Theirs, *, as_json: AsJson = False) -> None:
    """Tell who mapped a SKU of theirs to what, when and why."""
    from streams.mapping import table as mappings

    found = run(mappings.history(reader_of(settings()), platform, shop, theirs, 1_000))
    if not found:
        refuse(
            {"ok": False, "history": []},
            f"Nobody ever mapped {theirs} of {platform} shop {shop}.",
            as_json=as_json,
        )
    answer({"ok": True, "history": found}, as_json=as_json, words=lambda _: _history(found))


def _history(found: list[dict[str, Any]]) -> None:
    shown = table(
        "History", "when (UTC)", "who", "what", "ours", "from (UTC)", "until (UTC)", "why"
    )
    for row in found:
        what = "withdrawn" if row["is_withdrawn"] else "mapped" if row["is_new"] else "moved"
        shown.add_row(
            cell(row["at"]), row["by"], what, row["ours"], cell(row["valid_from"]),
            cell(row["valid_to"]), row["why"],
        )  # fmt: skip
    console().print(shown)


@reference.command(
    "publish",
    epilog=examples("orderflow reference publish", "orderflow reference publish --every 5"),
)
def publish(
    *,
    every: Annotated[
        float | None, typer.Option("--every", min=0.1, help="Again every so many seconds.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put PostgreSQL's mappings on the topic, and wake the orders that waited for them."""
    loaded = settings(every_line=every is not None)
    from streams.mapping.publishing import Publisher, once, until_told

    publisher = Publisher(loaded, reader_of(loaded))
    if every is not None:
        run(until_told(loaded, publisher, every))
        return
    done = run(once(publisher))
    if done.lost:
        refuse(
            {"ok": False, **done._asdict()},
            f"{len(done.lost)} orders are mapped, but their raw messages are gone, such as "
            f"{done.lost[0]}: feed them again.",
            as_json=as_json,
        )
    answer(
        {"ok": True, **done._asdict()},
        as_json=as_json,
        words=lambda to: to.print(
            f"Published {len(done.published):,}; {len(done.woken):,} of {done.waiting:,} waiting "
            "orders go on."
        ),
    )
