"""Commands that run: workers, the gateway, feeds, the demo, the benchmark."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from streams.cli.answers import (
    BAD_INPUT,
    NO,
    AsJson,
    answer,
    examples,
    run,
    settings,
    stop,
)
from streams.cli.benching import app as bench

# ruff: noqa: PLC0415  what is heavy is imported when a command runs, so that --help is quick

ALL_ROLES = "intake,orders,stock,ledger"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for command, name, lines in (
        (
            worker,
            "worker",
            (
                "orderflow worker --roles intake,orders,stock,ledger",
                "orderflow worker --roles stock --slots 2",
                "orderflow worker --roles intake,ledger --roles orders,stock   (two processes)",
                "orderflow worker --roles ledger --bare   (one process, no supervisor)",
            ),
        ),
        (
            gateway,
            "gateway",
            (
                "ORDERFLOW_SHOPS_FILE=shops.toml orderflow gateway",
                "orderflow gateway --host 0.0.0.0 --port 8443   (behind a proxy that does TLS)",
                "kill -HUP PID   (reads the shops again)",
            ),
        ),
        (
            feed,
            "feed",
            (
                "orderflow feed payloads/taobao --platform taobao --shop qingyou",
                "orderflow feed payloads   (its folders are named by platform)",
                "orderflow feed --generate 20000 --rate 500 --duplicates 5% --log feed.jsonl",
            ),
        ),
        (
            demo,
            "demo",
            (
                "make demo   (the console is open at the end, until Enter or Ctrl-C)",
                "orderflow demo --orders 2000 --no-wait",
                "orderflow demo --orders 2000 --json | tail -1",
            ),
        ),
    ):
        app.command(name, epilog=examples(*lines), rich_help_panel="Run")(command)
    app.add_typer(
        bench, name="bench", epilog=examples("orderflow bench reserve"), rich_help_panel="Run"
    )


def worker(
    *,
    roles: Annotated[
        list[str],
        typer.Option(
            "--roles",
            help="Which roles, separated by commas; given again, for another kind of process.",
        ),
    ] = [ALL_ROLES],  # noqa: B006  Typer reads it, nobody changes it
    slots: Annotated[
        int, typer.Option("--slots", min=1, max=64, help="How many processes of each kind.")
    ] = 1,
    bare: Annotated[
        bool, typer.Option("--bare", help="This process itself, without a supervisor.")
    ] = False,
    pid_file: Annotated[
        Path | None, typer.Option("--pid-file", help="Write this process's id there.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", help="Write the log to this file, not to stderr.")
    ] = None,
) -> None:
    """Run roles until SIGTERM; failed processes are started again, with growing pauses."""
    from streams import roles as known
    from streams.engine.serving import serve

    groups = [[name.strip() for name in some.split(",") if name.strip()] for some in roles]
    if bare and (slots != 1 or len(groups) != 1):
        stop("--bare is one process; leave out --slots and give --roles once.", BAD_INPUT)
    loaded = settings(every_line=True, log_file=log)
    made = [known.build(loaded, names) for names in groups]
    if pid_file is not None:
        pid_file.write_text(f"{os.getpid()}\n", "ascii")
    if bare:
        serve(loaded, made[0])
    from streams.engine import supervised

    options = ("--log", str(log)) if log else ()
    raise typer.Exit(supervised.run(loaded, groups, slots, *options))


def gateway(
    *,
    host: Annotated[
        str | None, typer.Option("--host", help="Listen there, not on ORDERFLOW_GATEWAY_HOST.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Not on ORDERFLOW_GATEWAY_PORT."),
    ] = None,
) -> None:
    """Take webhooks and the mall's orders over HTTP until SIGTERM; stored first, then answered."""
    loaded = settings(every_line=True)
    from streams.gateway import serving

    serving.run(
        loaded,
        loaded.gateway_host if host is None else host,
        loaded.gateway_port if port is None else port,
    )


def share(said: str) -> float:
    """Return a share from 0 to 1 of `5%`, `0.05` or `5 %`."""
    text = said.strip()
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        raise typer.BadParameter(f"{said!r} is not a share such as 5%") from None
    if text.endswith("%"):
        value /= 100
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{said!r} is not between 0% and 100%; write 5% for one in twenty")
    return value


def _share(help_: str) -> Any:
    return typer.Option(metavar="SHARE", help=help_)


Duplicates = Annotated[str, _share("Sent twice, such as 5%.")]
Reorder = Annotated[str, _share("Sent in the wrong order.")]
Cancel = Annotated[str, _share("Cancelled, half before payment and half after.")]
LatePayments = Annotated[str, _share("Paid after the hold ran out.")]
Abandon = Annotated[str, _share("Never paid.")]
Edited = Annotated[str, _share("Paid with other quantities than were ordered.")]
Parcels = Annotated[str, _share("Of what is shipped, in two parcels.")]


def feed(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files or folders of payloads, as they are.")
    ] = None,
    *,
    platform: Annotated[
        str | None, typer.Option("--platform", help="Where the folders do not say it.")
    ] = None,
    shop: Annotated[str, typer.Option("--shop", help="The shop the files belong to.")] = "samples",
    generate: Annotated[
        int | None, typer.Option("--generate", min=1, help="Generate so many three-line orders.")
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", min=0, help="Orders a second; 0: as fast as it goes.")
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed, the same bytes.")] = 1,
    platforms: Annotated[
        str, typer.Option("--platforms", help="Whose orders are generated.")
    ] = "taobao,douyin,shopify",
    skus: Annotated[int, typer.Option("--skus", min=3, help="How many SKUs are sold.")] = 500,
    scarce: Annotated[
        int, typer.Option("--scarce", min=0, help="One SKU in so many is scarce; 0: none.")
    ] = 50,
    duplicates: Duplicates = "0%",
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="A duplicate is said again so often at most.")
    ] = 1,
    reorder: Reorder = "0%",
    cancel: Cancel = "0%",
    late_payments: LatePayments = "0%",
    abandon: Abandon = "0%",
    edited: Edited = "0%",
    parcels: Parcels = "0%",
    unpaid: Annotated[
        bool, typer.Option("--unpaid", help="Only the first statement of each order.")
    ] = False,
    hold_for: Annotated[
        float, typer.Option("--hold-for", min=0, help="The shops' hold in seconds, to be late by.")
    ] = 6.0,
    starts: Annotated[
        int | None,
        typer.Option("--starts", help="Unix seconds of the first order; now where not given."),
    ] = None,
    receive: Annotated[
        bool, typer.Option("--receive", help="First receive the stock the orders will ask for.")
    ] = False,
    log: Annotated[
        Path | None, typer.Option("--log", help="Write what was sent, and where the broker put it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Publish platform messages: payload files as they are, or generated orders."""
    if (generate is None) == (not files):
        stop("Give files or folders, or --generate N; one of both.", BAD_INPUT)
    if files:
        _feed_files(files, platform, shop, log, as_json=as_json)
        return
    import time

    from streams.feed.trade import Trade

    trade = Trade(
        orders=generate or 0,
        rate=rate,
        seed=seed,
        platforms=tuple(name.strip() for name in platforms.split(",") if name.strip()),
        skus=skus,
        scarce=scarce,
        duplicates=share(duplicates),
        repeats=repeats,
        reorder=share(reorder),
        cancel=share(cancel),
        late_payments=share(late_payments),
        abandoned=share(abandon),
        edited=share(edited),
        parcels=share(parcels),
        unpaid=unpaid,
        hold_for_s=hold_for,
        starts_s=int(time.time()) if starts is None else starts,
    )
    _feed_trade(trade, log, receive=receive, as_json=as_json)


def _feed_files(
    paths: list[Path], platform: str | None, shop: str, log: Path | None, *, as_json: bool
) -> None:
    from streams.feed import files

    found = files.found(paths, platform)
    sent = run(files.feed(settings(), found, shop, log))
    facts = {
        "ok": True,
        "messages": sent,
        "platforms": sorted({name for name, _ in found}),
        "shop": shop,
        "log": str(log) if log else None,
    }
    answer(facts, as_json=as_json, words=lambda to: to.print(f"Sent {sent} files as they are."))


def _feed_trade(trade: Any, log: Path | None, *, receive: bool, as_json: bool) -> None:
    from rich.console import Console

    from streams.feed import generated

    loaded = settings()
    if receive:
        _receive(loaded, trade)
    terminal = Console(stderr=True)
    with terminal.status("feeding") as status:

        def progress(fed: generated.Fed) -> None:
            rate = fed.messages / fed.seconds if fed.seconds else 0
            status.update(
                f"{fed.orders:,} of {trade.orders:,} orders, {fed.messages:,} messages, "
                f"{rate:,.0f}/s"
            )

        fed = run(generated.feed(loaded, trade, log, progress))
    facts = {
        "ok": fed.acknowledged == fed.messages,
        **fed._asdict(),
        "messages_per_second": round(fed.messages / max(fed.seconds, 1e-9), 1),
        "seed": trade.seed,
        "starts": trade.starts_s,
        "log": str(log) if log else None,
    }
    counted = ", ".join(f"{name} {count:,}" for name, count in fed.counts.items())
    answer(
        facts,
        as_json=as_json,
        words=lambda to: to.print(
            f"Sent {fed.messages:,} messages about {fed.orders:,} orders in {fed.seconds:.1f} s "
            f"({facts['messages_per_second']:,.0f}/s): {counted}."
        ),
    )


def _receive(loaded: Any, trade: Any) -> None:
    from schemas.stock import ReceiveStock
    from streams import commanding
    from streams.clock import new_id

    commands = [
        commanding.command(
            ReceiveStock,
            id=new_id(),
            sku=sku,
            quantity=quantity,
            reason="for generated orders",
            operator="feed",
        )
        for sku, quantity in trade.stock().items()
    ]
    run(commanding.ask(loaded, commands, 60.0))


def demo(
    *,
    orders: Annotated[int, typer.Option("--orders", min=100, help="Generated orders.")] = 20_000,
    rate: Annotated[float, typer.Option("--rate", min=1, help="Orders a second.")] = 400,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed, the same orders.")] = 1,
    keep: Annotated[
        bool, typer.Option("--keep/--no-keep", help="Keep topics and database to look around.")
    ] = True,
    wait: Annotated[
        bool | None,
        typer.Option(
            "--wait/--no-wait",
            help="Leave the console open at the end, until Ctrl-C; at a terminal it is left open.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the whole house at work: feed, reserve, kill a worker, check, and open the console."""
    from streams.demo import has_terminal, show

    outcome = show(
        settings(), orders=orders, rate=rate, seed=seed, keep=keep, quiet=as_json,
        wait=has_terminal() and not as_json if wait is None else wait,
    )  # fmt: skip
    answer(outcome, as_json=as_json, words=lambda _: None)
    if not outcome["ok"]:
        raise typer.Exit(NO)
