"""Commands of alerts: the process that tells people, what is open, who sees to it, the rules."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.answers import (
    AWAY,
    BAD_INPUT,
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
from streams.cli.operating import Operator, who
from streams.postgres.addresses import operations_of, reader_of

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

if TYPE_CHECKING:
    from schemas.alerts import Rule
    from streams.alerting.store import Acknowledged

alerts = typer.Typer(
    help="What is wrong now, who sees to it, and the process that tells people.",
    epilog=examples(
        "ORDERFLOW_ALERTS_FILE=alerts.toml orderflow alerts run",
        "orderflow alerts list",
        "orderflow alerts ack 4f09ac --note 'I count the shelf' --operator mei",
    ),
    no_args_is_help=True,
)

#: What `alerts list --state` may be; streams/alerting/pages.py says what each shows.
_STATES = ("open", "pending", "resolved", "all")


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(alerts, name="alerts", rich_help_panel="Operate")


@alerts.command(
    "run",
    epilog=examples(
        "orderflow alerts run", "ORDERFLOW_ALERTS_FILE=alerts.toml orderflow alerts run"
    ),
)
def work() -> None:
    """Read the figures, judge them, tell people, until SIGTERM; of several replicas one works."""
    from streams.alerting.file import read
    from streams.alerting.serving import serve

    loaded = settings(every_line=True)
    run(serve(loaded, read(loaded.alerts_file)))


@alerts.command(
    "list",
    epilog=examples("orderflow alerts list", "orderflow alerts list --state resolved --json"),
)
def show(
    *,
    state: Annotated[str, typer.Option("--state", help=f"One of {', '.join(_STATES)}.")] = "open",
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show alerts, those that are not over first."""
    from streams.alerting.pages import SHOWN

    if state not in _STATES:
        stop(f"--state: write one of {', '.join(_STATES)}; not {state!r}.", BAD_INPUT)
    found = run(_listed(reader_of(settings()), SHOWN[state], limit))
    answer({"ok": True, "alerts": found}, as_json=as_json, words=lambda _: _show(found, state))


async def _listed(dsn: str, states: tuple[Any, ...], limit: int) -> list[dict[str, Any]]:
    from streams.alerting.store import asked, listed

    async with asked(dsn) as connection:
        return await listed(connection, states, limit)


def _show(found: list[dict[str, Any]], state: str) -> None:
    to = console()
    if not found:
        to.print("No alert is open." if state == "open" else "There are none.")
        return
    shown = table(
        "Alerts", "id", "severity", "rule", "about", "state", "since (UTC)", "#figure", "#worst",
        "seen to by",
    )  # fmt: skip
    for each in found:
        shown.add_row(
            each["id"][-6:], each["severity"], each["rule"], cell(each["subject"]), each["state"],
            cell(each["since"]), cell(each["value"]), cell(each["worst"]),
            cell(each["acknowledged_by"]),
        )  # fmt: skip
    to.print(shown)
    to.print("See to one by: orderflow alerts ack ID --note TEXT --operator NAME")


@alerts.command(
    "ack", epilog=examples("orderflow alerts ack 4f09ac --note 'I count the shelf' --operator mei")
)
def acknowledge(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Whole, or its last six letters.")],
    *,
    note: Annotated[str, typer.Option("--note", help="What you do about it.")] = "",
    operator: Operator = None,
    as_json: AsJson = False,
) -> None:
    """Say that you see to an alert; it ends by itself when the figure is back."""
    from streams.clock import now_ms

    by, dsn = who(operator), operations_of(settings())

    async def ask() -> "Acknowledged":
        from streams.alerting.store import acknowledge, asked

        async with asked(dsn) as connection:
            return await acknowledge(connection, id_, by, note, now_ms())

    done = run(ask())
    if done.refused:
        refuse(
            {"ok": False, "why": done.refused, "alert": done.alert}, done.refused, as_json=as_json
        )
    alert = done.alert or {}
    answer(
        {"ok": True, "alert": alert},
        as_json=as_json,
        words=lambda to: to.print(f"{alert['rule']} {alert['subject']}: {by} sees to it."),
    )


@alerts.command("rules", epilog=examples("orderflow alerts rules", "orderflow alerts rules --json"))
def rules(*, as_json: AsJson = False) -> None:
    """Show the rules as they hold here, and the channels; refuses a wrong alerts file."""
    from msgspec import to_builtins

    from streams.alerting.file import read

    plan = read(settings().alerts_file)
    if as_json:
        channels = [{"name": each.name, "kind": str(each.kind)} for each in plan.channels]
        print_json({"ok": True, "rules": to_builtins(plan.rules), "channels": channels})
        return
    _show_rules(plan.rules)
    named = ", ".join(f"{each.name} ({each.kind})" for each in plan.channels)
    console().print(f"Channels: {named}.", markup=False)


def _show_rules(shown: "tuple[Rule, ...]") -> None:
    from agents.alert_rules import SIGNALS
    from agents.alerting import figure, span

    made = table("Rules", "rule", "severity", "fires above", "over at or below")
    for rule in shown:
        unit = SIGNALS[rule.signal].unit
        made.add_row(
            rule.name, rule.severity,
            f"{figure(rule.threshold)} {unit}, for {span(rule.for_ms)}",
            f"{figure(rule.clear)}, for {span(rule.clear_for_ms)}",
        )  # fmt: skip
    console().print(made)


@alerts.command("test", epilog=examples("orderflow alerts test", "orderflow alerts test --json"))
def try_out(
    *,
    within: Annotated[
        float, typer.Option("--timeout", min=1, help="Seconds to wait for the channels.")
    ] = 60,
    as_json: AsJson = False,
) -> None:
    """Send a self-test through the running process and every channel; exit 1 if one is late."""
    from streams.postgres.addresses import ledger_of

    taken = run(_tested(ledger_of(settings()), within))
    if not taken:
        stop("No channel is known; start `orderflow alerts run` first.", AWAY)
    late = sorted(name for name, sent in taken.items() if not sent)
    facts = {"ok": not late, "channels": taken}
    if late:
        refuse(
            facts,
            f"Not taken within {within:g} s: {', '.join(late)}. Does `orderflow alerts run` run, "
            "and what does it log?",
            as_json=as_json,
        )
    answer(
        facts, as_json=as_json, words=lambda to: to.print(f"Taken by {', '.join(sorted(taken))}.")
    )


async def _tested(dsn: str, within_s: float) -> dict[str, bool]:
    import asyncio
    import time

    from streams.alerting.store import asked, order_tests, tests_taken
    from streams.clock import new_id, now_ms

    async with asked(dsn) as connection:
        ids = await order_tests(connection, new_id(), now_ms())
        until = time.monotonic() + within_s
        while True:
            taken = await tests_taken(connection, ids)
            if all(taken.values()) or time.monotonic() > until:
                return taken
            await asyncio.sleep(0.2)
