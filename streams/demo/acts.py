"""
What happens, in order: the stage, the troupe, the goods, the feed with its accident, the truth, and
the house that stands open afterwards where somebody wants to look.

The outcome is yes only if everything that was sent is on the broker, the killed worker came back,
the house came to rest in time, and `orderflow check` holds.
"""

import asyncio
import signal
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from schemas.errors import OrderflowError, Unavailable
from schemas.stock import ReceiveStock
from streams import check, commanding, logs, stage
from streams.clock import new_id
from streams.demo import opening, samples, telling
from streams.demo.troupe import Troupe
from streams.demo.watching import Figures, View, gauge
from streams.feed import files, generated
from streams.feed.trade import Trade
from streams.reads import Reads
from streams.settings import Settings

#: How long the demo's shops hold an unpaid order: short, so that some run out before one's eyes.
HOLD_FOR_S = 6.0
#: Workers are ready, and have received the goods, within this.
READY_S = 60.0
#: The worker is killed when so much of the feed is sent.
KILL_AT = 0.4
BACK_S = 20.0
#: After the feed everything comes to rest: holds run out, the ledger catches up. Where no order has
#: gone on for so long, or it takes longer than a slow machine needs, it does not.
QUIET_S, REST_WITHIN_S = 60.0, 600.0
#: Nothing may have changed over so many looks.
_STILL_LOOKS = 3
_ALL = timedelta(hours=1)


class Accident(NamedTuple):
    """The kill, and what came after."""

    killed: int
    back: int | None
    seconds: float


def show(
    around: Settings,
    *,
    orders: int,
    rate: float,
    seed: int,
    keep: bool,
    quiet: bool,
    wait: bool,
) -> dict[str, Any]:
    """
    Run the demo on the stack that *around* names; return its outcome, with `ok`.

    With *wait* the house stands open at the end, until somebody ends it. Told to end before, it
    ends what it started, and this process.
    """
    trade = Trade(
        orders=orders, rate=rate, seed=seed, duplicates=0.05, reorder=0.05, cancel=0.05,
        late_payments=0.02, abandoned=0.03, shipped=0.3, hold_for_s=HOLD_FOR_S,
        starts_s=int(time.time()),
    )  # fmt: skip
    console = Console(highlight=False, stderr=quiet)
    try:
        return asyncio.run(_show(around, trade, console, keep=keep, wait=wait))
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None


async def _show(
    around: Settings, trade: Trade, console: Console, *, keep: bool, wait: bool
) -> dict[str, Any]:
    began = time.monotonic()
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    set_ = stage.planned(around, "demo")
    await stage.build(around, set_, samples.reference(round(HOLD_FOR_S * 1000)))
    folder = Path(tempfile.mkdtemp(prefix=set_.prefix))
    logs.set_up("info", folder / "demo.log")
    console.print(
        f"Topics {set_.prefix}*, database {set_.database}, logs in {folder}.", soft_wrap=True
    )
    troupe = Troupe(set_, folder)
    troupe.start()
    try:
        played = await _play(set_, troupe, trade, folder, console)
    finally:
        await troupe.stop()
    console.print("The workers are stopped; everything is counted again by independent code.")
    report = await check.run(set_.settings, feed_log=folder / "feed.jsonl")
    ledger = await _ledger(set_)
    outcome = {
        "seconds": round(time.monotonic() - began, 1),
        "prefix": set_.prefix,
        "database": set_.database,
        **played,
        **ledger,
        "check": report.as_json(),
    }
    outcome["ok"] = report.ok and played["ok"]
    telling.tell(console, outcome, check.render(report), set_.look_around() if keep else [])
    try:
        if wait:
            await _stand_open(set_, folder, console)
    finally:
        if not keep:
            await stage.remove(around, set_)
    return outcome


async def _stand_open(set_: stage.Stage, folder: Path, console: Console) -> None:
    """Let people look at what the demo left, until they have seen it."""
    users = set_.settings.postgres_console
    if users is None:
        console.print("Set ORDERFLOW_POSTGRES_CONSOLE to look at it in the console.")
        return
    entered = sys.stdin if has_terminal() else None
    console.print("\nThe workers start again, and the console.")
    async with opening.open_house(set_, users, folder) as there:
        telling.invite(console, there, by_enter=entered is not None)
        await opening.until_told(entered)
        console.print("The console and the workers are being stopped.")


def has_terminal() -> bool:
    """Say whether somebody sits there who can end what stands open."""
    return sys.stdin is not None and sys.stdin.isatty()


async def _play(
    set_: stage.Stage, troupe: Troupe, trade: Trade, folder: Path, console: Console
) -> dict[str, Any]:
    """Feed, break and wait; return what came of it."""
    if not await troupe.ready(READY_S):
        raise Unavailable(f"The workers were not ready within {READY_S:.0f} s; see {folder}.")
    received = await _receive(set_.settings, trade, console)
    expected = trade.orders + len(samples.orders())
    reader = set_.env["ORDERFLOW_POSTGRES_READER"]
    async with (
        gauge(set_.settings, reader) as figures,
        View(console, figures, trade.orders) as view,
    ):
        sent = await files.feed(set_.settings, samples.files(), samples.SHOP)
        view.say(f"{sent} sample payloads are sent as the platforms wrote them")
        in_full_swing = asyncio.Event()
        accident = asyncio.create_task(_accident(troupe, in_full_swing, view))

        def progress(fed: generated.Fed) -> None:
            figures.fed = fed.orders
            if fed.orders >= trade.orders * KILL_AT:
                in_full_swing.set()

        fed = await generated.feed(set_.settings, trade, folder / "feed.jsonl", progress)
        view.say(f"{fed.orders:,} generated orders are sent, in {fed.messages:,} messages")
        at_rest = await _rest(view, troupe, expected)
        met = await accident
        last = view.last
    return {
        "ok": at_rest and met.back is not None and fed.acknowledged == fed.messages,
        "at_rest": at_rest,
        "received_skus": received,
        "samples": sent,
        "orders": expected,
        "fed": fed._asdict(),
        "killed": met._asdict(),
        "figures": last._asdict(),
    }


async def _receive(settings: Settings, trade: Trade, console: Console) -> int:
    """Receive the goods of the samples and of the generated orders."""
    wanted = {**samples.stock(), **trade.stock()}
    commands = [
        commanding.command(
            ReceiveStock, id=new_id(), sku=sku, quantity=units, reason="opening", operator="demo"
        )
        for sku, units in wanted.items()
    ]
    began = time.monotonic()
    answers = await commanding.ask(settings, commands, READY_S)
    refused = [said for said in answers.values() if said.refusal is not None]
    if refused:
        raise OrderflowError(f"{refused[0].sku} was not received: {refused[0].refusal}")
    scarce = sum(trade.is_scarce(number) for number in range(trade.skus))
    console.print(
        f"The workers are ready; {len(answers)} SKUs received ({scarce} of them scarce) in "
        f"{time.monotonic() - began:.1f} s."
    )
    return len(answers)


async def _accident(troupe: Troupe, in_full_swing: asyncio.Event, view: View) -> Accident:
    """Kill a worker with -9 while it has its hands full, and see it come back."""
    await in_full_swing.wait()
    began = time.monotonic()
    pid = troupe.kill(0)
    view.say(f"worker 0 (pid {pid}) is killed with -9")
    back = await troupe.back(0, pid, BACK_S)
    seconds = time.monotonic() - began
    view.say(f"worker 0 is back (pid {back}) after {seconds:.1f} s")
    return Accident(pid, back, round(seconds, 2))


async def _rest(view: View, troupe: Troupe, expected: int) -> bool:
    """Wait until nothing waits, nothing is held without a payment, and nothing changes."""
    loop = asyncio.get_running_loop()
    deadline, moved = loop.time() + REST_WITHIN_S, loop.time()
    still, before = 0, Figures()
    while loop.time() < min(deadline, moved + QUIET_S) and not troupe.ended:
        now = view.last
        if now is not before:
            if _stands(now) != _stands(before):
                moved = loop.time()
            same = now.records == before.records and now.orders >= expected
            done = not now.lag and not now.locked and now.asking <= samples.unmappable()
            still = still + 1 if same and done else 0
            before = now
        if still >= _STILL_LOOKS:
            view.say("the house is at rest")
            return True
        await asyncio.sleep(0.1)
    why = f"nothing has gone on for {QUIET_S:.0f} s"
    if troupe.ended:
        why = "the workers have ended"
    elif loop.time() >= deadline:
        why = f"{REST_WITHIN_S:.0f} s are over"
    view.say(f"the house did not come to rest: {why}")
    return False


def _stands(now: Figures) -> tuple[int, ...]:
    """Return how far the orders are, and how much waits."""
    return now.orders, now.reserved, now.short, now.expired, now.locked, now.lag


async def _ledger(set_: stage.Stage) -> dict[str, Any]:
    """Return the final tables as PostgreSQL has them."""
    async with Reads(set_.env["ORDERFLOW_POSTGRES_READER"]) as reads:
        return {
            "by_channel_and_status": await reads.orders_by_channel_and_status(),
            "stock": await reads.stock_by_bucket(),
            "latency": await reads.throughput_and_latency(_ALL),
            "parked": await reads.count_parked_open(),
        }
