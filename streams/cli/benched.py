"""Figures as tables for people."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from streams import footprints
from streams.cli.answers import cell, table

if TYPE_CHECKING:
    from rich.console import Console


def reserved(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench reserve`."""
    sides = table("Reserve, from a backlog", "", "#orderflow", "#Faust")
    for name, said in (
        ("records", "commands a run"),
        ("rate", "outcomes a second"),
        ("client_cpu_us", "worker CPU, µs each"),
        ("broker_cpu_us", "broker CPU, µs each"),
        ("memory_mib", "worker memory, MiB"),
    ):
        sides.add_row(said, cell(figures[name]), cell(figures[f"{name}_faust"]))
    to.print(sides)
    to.print(
        f"orderflow does {cell(figures['ratio_to_faust'])} times as many, each for "
        f"1/{cell(figures['cpu_ratio_to_faust'])} of the worker's CPU."
    )
    to.print(
        f"At {cell(figures['latency_rate'])} commands a second a step takes "
        f"{cell(figures['latency_p50_ms'])} ms (p50), {cell(figures['latency_p99_ms'])} ms (p99), "
        f"{cell(figures['latency_max_ms'])} ms at most; the worker takes "
        f"{cell(figures['latency_cores'])} of a core."
    )
    _on(to, figures)


def crowded(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench hot`."""
    to.print(
        f"One SKU: {cell(figures['rate_hot'])} holds a second; ten thousand: "
        f"{cell(figures['rate_uniform'])}. The ratio is {cell(figures['ratio_to_uniform'])}."
    )
    _on(to, figures)


def shared(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench workers`."""
    shown = table(
        f"{cell(figures['records'])} holds, {figures['partitions']} partitions",
        "#workers", "#holds a second", "#ratio", "#worker CPU, µs", "#broker CPU, µs", "#cores",
    )  # fmt: skip
    for row in figures["workers"]:
        shown.add_row(
            cell(row["workers"]), cell(row["rate"]), _hundredths(row["ratio"]),
            cell(row["client_cpu_us"]), cell(row["broker_cpu_us"]), _hundredths(row["cores"]),
        )  # fmt: skip
    to.print(shown)
    to.print("Cores: what workers and broker took together, of those that are there.")
    _on(to, figures)


def grown(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench skus`."""
    shown = table(
        f"{cell(figures['records'])} holds, over more and more SKUs",
        "#SKUs", "#holds a second", "#worker CPU, µs", "#ratio", "#memory, MiB", "#ratio",
    )  # fmt: skip
    for row in figures["skus"]:
        shown.add_row(
            cell(row["skus"]), cell(row["rate"]), cell(row["client_cpu_us"]),
            _hundredths(row["cpu_ratio"]), cell(row["memory_mib"]),
            _hundredths(row["memory_ratio"]),
        )  # fmt: skip
    to.print(shown)
    _on(to, figures)


def loaded(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench latency`."""
    for name, title in (
        ("step", "A step of the stock keeper: command to answer"),
        ("chain", "The whole chain: message to the verdict in PostgreSQL"),
    ):
        shown = table(
            title, "#asked a second", "#had", "#p50, ms", "#p99, ms", "#p99.9, ms", "#max, ms",
            "#p50, ratio", "#p99, ratio", "#CPU, µs",
        )  # fmt: skip
        for row in figures[name]:
            spread = ("asked", "rate", "p50_ms", "p99_ms", "p999_ms", "max_ms")
            shown.add_row(
                *(cell(row[each]) for each in spread),
                *(_hundredths(row[each]) for each in ("p50_ratio", "p99_ratio")),
                cell(row["cpu_us"]),
            )
        if figures[name]:
            to.print(shown)
    to.print("CPU: of the keeper's worker a command; of the whole machine an order.")
    _on(to, figures)


def flowed(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench flow`."""
    shown = table("From raw message to PostgreSQL", "", "#figure")
    for name, said in (
        ("orders", "three-line orders"),
        ("rate", "orders a second"),
        ("row_p50_ms", "to the first row, p50 ms"),
        ("row_p99_ms", "to the first row, p99 ms"),
        ("verdict_p50_ms", "to the verdict, p50 ms"),
        ("verdict_p99_ms", "to the verdict, p99 ms"),
        ("intake_p50_ms", "of it in intake, p50 ms"),
        ("intake_p99_ms", "of it in intake, p99 ms"),
        ("keepers_p50_ms", "of it in the keepers, p50 ms"),
        ("keepers_p99_ms", "of it in the keepers, p99 ms"),
        ("ledger_p50_ms", "of it in the ledger, p50 ms"),
        ("ledger_p99_ms", "of it in the ledger, p99 ms"),
        ("exceptions", "exceptions meanwhile"),
        ("exceptions_age_p50_ms", "age of the newest that is shown, p50 ms"),
        ("exceptions_age_max_ms", "age of the newest that is shown, max ms"),
        ("workers_cpu_us", "workers' CPU, µs an order"),
        ("broker_cpu_us", "broker's CPU, µs an order"),
        ("machine_cpu_us", "the machine's CPU, µs an order"),
        ("memory_mib", "largest worker, MiB"),
    ):
        if name in figures:
            shown.add_row(said, cell(figures[name]))
    to.print(shown)
    for line in footprints.told(figures.get("footprints", ())):
        to.print(line)
    _on(to, figures)


def recovered(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench recovery`."""
    to.print(
        f"{cell(figures['rows'])} rows are back in {figures['recovery_s']:.2f} s "
        f"({cell(figures['rows_per_s'])} a second), from snapshots in "
        f"{figures['from_snapshots_s']:.2f} s; the worker is ready {figures['ready_s']:.2f} s "
        f"after its start and has {cell(figures['memory_mib'])} MiB "
        f"({cell(figures['peak_mib'])} at most)."
    )
    if "open_orders" in figures:
        to.print(
            f"With {cell(figures['open_orders'])} open orders and {cell(figures['open_holds'])} "
            f"holds, both keepers in one worker: {figures['both_recovery_s']:.2f} s, "
            f"{cell(figures['both_memory_mib'])} MiB ({cell(figures['both_peak_mib'])} at most)."
        )
    _on(to, figures)


def read_again(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench recovery --writes`."""
    shown = table(
        f"{cell(figures['rows'])} rows after {cell(figures['writes'])} writes within "
        f"{figures['minutes']:g} minutes",
        "the worker starts on", "#records read", "#s", "#µs a record", "#ready after, s",
        "#its CPU, s", "#memory, MiB", "#at most, MiB",
    )  # fmt: skip
    for name, said in (("empty", "an empty disk"), ("same", "the same disk")):
        found = figures[name]
        shown.add_row(
            said, cell(found["records"]), _hundredths(found["recovery_s"]),
            _hundredths(found["record_us"]), _hundredths(found["ready_s"]),
            _hundredths(found["cpu_s"]), cell(found["memory_mib"]), cell(found["peak_mib"]),
        )  # fmt: skip
    to.print(shown)
    _on(to, figures)


def expired(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench expiry`."""
    shown = table(f"{cell(figures['holds'])} holds run out", "", "#as it runs", "#after a restart")
    for name, said in (
        ("late_p50_ms", "released after the deadline, p50 ms"),
        ("late_p99_ms", "p99 ms"),
        ("late_max_ms", "at most, ms"),
    ):
        shown.add_row(said, cell(figures[name]), cell(figures[f"{name}_restart"]))
    to.print(shown)
    to.print(f"All due at once: {cell(figures['released_per_s'])} are released a second.")
    _on(to, figures)


def joined(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench join`."""
    shown = table(
        f"{cell(figures['rate'])} commands a second on {figures['partitions']} partitions",
        "", "#one worker", "#a second joins", "#it goes",
    )  # fmt: skip
    for name, said in (
        ("pause_ms", "longest pause of a partition, ms"),
        ("pause_median_ms", "of the median partition, ms"),
        ("late_p99_ms", "command to answer, p99 ms"),
    ):
        shown.add_row(
            said, *(cell(figures[f"{each}_{name}"]) for each in ("alone", "joining", "leaving"))
        )
    to.print(shown)
    _on(to, figures)


def acknowledged(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench gateway`."""
    rate = cell(figures["rate"])
    sides = table(f"{rate} webhooks a second", "", "#orderflow", "#bare Starlette")
    for name, said in (
        ("p50_ms", "acknowledged, p50 ms"),
        ("p99_ms", "p99 ms"),
        ("max_ms", "at most, ms"),
        ("server_cpu_us", "server CPU, µs each"),
        ("broker_cpu_us", "broker CPU, µs each"),
    ):
        sides.add_row(said, cell(figures[name]), cell(figures[f"{name}_bare"]))
    to.print(sides)
    _on(to, figures)


def taken_in(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench intake`."""
    shown = table("A three-line order before the broker", "", "#bytes", "#parse, µs", "#intake, µs")
    for form, these in (("", figures), (", compact", figures["compact"])):
        for name, found in these["platforms"].items():
            shown.add_row(
                name + form,
                cell(round(found["bytes"])),
                cell(found["parse_us"]),
                cell(found["intake_us"]),
            )
    to.print(shown)
    for form, these in (("", figures), (", compact", figures["compact"])):
        to.print(
            f"On average{form} {cell(these['intake_us'])} µs an order: "
            f"{cell(round(these['rate']))} orders a second on one core."
        )
    machine = figures["machine"]
    to.print(f"On {machine['cores']} cores of {machine['cpu']}, Python {machine['python']}.")


def answered(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench availability`."""
    shown = table(
        f"GET /v1/availability, {cell(figures['skus'])} SKUs in Redis, one process",
        "#requests a second", "#SKUs each", "#p50, ms", "#p99, ms", "#max, ms", "#core, %",
    )  # fmt: skip
    for load in figures["loads"]:
        core = load["core"]
        shown.add_row(
            *(cell(load[name]) for name in ("rate", "skus", "p50_ms", "p99_ms", "max_ms")),
            cell(None if core is None else round(core * 100)),
        )
    to.print(shown)
    _on(to, figures)


def imported(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench import`."""
    shown = table(
        f"orderflow import of a {figures['kind']} file, {cell(figures['bytes'])} bytes",
        "#rows", "#command to receipt, s", "#rows/s", "#again, s", "#memory, MiB",
    )  # fmt: skip
    names = ("rows", "seconds", "rate", "again_seconds", "peak_mib")
    shown.add_row(*(cell(figures[name]) for name in names))
    to.print(shown)
    to.print(f"Verdicts: {figures['verdicts']}; the second time: {figures['verdicts_again']}.")
    _on(to, figures)


def looked_at(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench pages`."""
    shown = table(
        f"The console, {cell(figures['orders'])} orders and {cell(figures['lines'])} lines,"
        f" {cell(figures['asks'])} times each page",
        "", "#p50, ms", "#p95, ms", "#max, ms", "#bytes",
    )  # fmt: skip
    for page in figures["pages"]:
        names = ("p50_ms", "p95_ms", "max_ms", "bytes")
        shown.add_row(page["page"], *(cell(page[name]) for name in names))
    to.print(shown)
    plans = table("The statements behind them", "", "#ms", "big tables read whole", "partitions")
    for plan in figures["plans"]:
        parts = ", ".join(f"{t} {some} of {all_}" for t, (some, all_) in plan["partitions"].items())
        scans = ", ".join(plan["scans"])
        plans.add_row(plan["statement"], cell(plan["ms"]), scans or "-", parts or "-")
    to.print(plans)
    _on(to, figures)


def told(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench live`."""
    shown = table(
        f"From a platform's message to its open page, {cell(figures['pages'])} of them open",
        "#messages/s", "#p50, ms", "#p99, ms", "#max, ms", "#cores of the console",
    )  # fmt: skip
    names = ("rate", "p50_ms", "p99_ms", "max_ms")
    cores = _hundredths(figures["console_cores"])
    shown.add_row(*(cell(figures[name]) for name in names), cores)
    to.print(shown)
    _on(to, figures)


def figured(to: "Console", figures: Mapping[str, Any]) -> None:
    """Show `bench figures`."""
    shown = table(
        f"{cell(figures['orders'])} orders, {cell(figures['lines'])} lines",
        "what", "#median, ms", "#max, ms",
    )  # fmt: skip
    for kind in ("questions", "lists"):
        for name, each in figures[kind].items():
            shown.add_row(f"{kind}: {name}", cell(each["median_ms"]), cell(each["max_ms"]))
    to.print(shown)
    to.print(
        f"Counted from nothing in {cell(figures['count_s'])} s; a day of "
        f"{cell(figures['busiest'])} orders, {cell(figures['late'])} of them late, reported in "
        f"{cell(figures['report_s'])} s. Differences: {figures['differences']}."
    )
    _on(to, figures)


def _hundredths(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"


def _on(to: "Console", figures: Mapping[str, Any]) -> None:
    machine = figures["machine"]
    to.print(
        f"On {machine['cores']} cores of {machine['cpu']}, {machine['memory']}, "
        f"Python {machine['python']}, Kafka {machine['kafka'] or 'elsewhere'}."
    )
