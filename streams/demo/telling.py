"""What the demo says at the end: the tables as PostgreSQL has them, and the verdict."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from streams.demo.opening import Open

_BUCKETS = ("available", "locked", "occupied", "reserved", "frozen", "on_hand")


def tell(
    console: Console, outcome: dict[str, Any], verdict: Sequence[str], look_around: Sequence[str]
) -> None:
    """Print the final tables, the check and the one word that counts."""
    console.print(_orders(outcome["by_channel_and_status"]))
    console.print(_stock(outcome["stock"]))
    console.print(_speed(outcome))
    for line in verdict:
        console.print(line, markup=False, soft_wrap=True)
    if look_around:
        console.print("\nThis installation is kept until the next demo. To look around in it:")
        for line in (*look_around, "orderflow exceptions list"):
            console.print(f"  {line}", markup=False, soft_wrap=True)
    said = "EVERYTHING HOLDS" if outcome["ok"] else "NOT EVERYTHING HOLDS"
    console.print(f"\n{said}: {outcome['orders']:,} orders in {outcome['seconds']:.0f} s.")
    for why in why_not(outcome):
        console.print(f"  {why}")


def invite(console: Console, there: Open, *, by_enter: bool) -> None:
    """Say where the console is open, for whom, and how it ends."""
    how = "Enter or Ctrl-C ends" if by_enter else "SIGINT or SIGTERM ends"
    console.print(
        f"\nThe console is open, with the orders of this demo:\n\n    {there.address}\n\n"
        f"Log in as {there.name} with the one-time password\n\n    {there.password}\n\n"
        f"and choose another; it is not shown again. {how} it and the workers.",
        markup=False, soft_wrap=True,
    )  # fmt: skip


def why_not(outcome: dict[str, Any]) -> list[str]:
    """Return a sentence for everything that keeps the demo from a yes."""
    fed = outcome["fed"]
    return [
        said
        for holds, said in (
            (outcome["check"]["ok"], "The check found what is named above."),
            (outcome["at_rest"], "The house did not come to rest in time."),
            (outcome["killed"]["back"] is not None, "The killed worker did not come back in time."),
            (
                fed["acknowledged"] == fed["messages"],
                f"Of {fed['messages']:,} messages {fed['acknowledged']:,} were acknowledged.",
            ),
        )
        if not holds
    ]


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        name = column.removeprefix("#")
        table.add_column(name, justify="right" if name != column else "left", no_wrap=True)
    return table


def _orders(rows: Sequence[dict[str, Any]]) -> Table:
    table = _table("Orders by channel and status", "channel", "status", "reservation", "#orders")
    for row in rows:
        table.add_row(
            f"{row['platform']} {row['shop']}", row["status"] or "no verdict yet",
            row["reservation"], f"{row['orders']:,}",
        )  # fmt: skip
    return table


def _stock(row: dict[str, Any]) -> Table:
    table = _table("Stock by bucket", "#SKUs", *(f"#{name.replace('_', ' ')}" for name in _BUCKETS))
    table.add_row(f"{row['skus']:,}", *(f"{row[name]:,}" for name in _BUCKETS))
    return table


def _speed(outcome: dict[str, Any]) -> Table:
    latency, fed = outcome["latency"], outcome["fed"]
    table = _table(
        "Throughput and latency, raw message to PostgreSQL (the kill included)",
        "#messages/s", "#orders/s", "#row p50", "#row p99", "#verdict p50", "#verdict p99",
    )  # fmt: skip
    table.add_row(
        f"{fed['messages'] / max(fed['seconds'], 1e-9):,.0f}",
        _number(latency.get("orders_per_second")),
        *(
            _number(latency.get(name), " ms")
            for name in ("row_ms_p50", "row_ms_p99", "verdict_ms_p50", "verdict_ms_p99")
        ),
    )
    return table


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:,.0f}{unit}"
