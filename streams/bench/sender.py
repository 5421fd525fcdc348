"""
Sends the order keeper's letters at a steady rate, in a process of its own.

    python -m streams.bench.sender RATE COUNT SKUS

Everything is made beforehand, so that only sending is left. Every few milliseconds what is due
leaves, one batch a partition, and is acknowledged before the next, as in an order keeper's round.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

from streams.bench.broker import Broker, Lanes, backlog
from streams.bench.commands import OrderKeeper, holds
from streams.settings import Settings, load

_TICK_S = 0.005


async def send(settings: Settings, rate: int, count: int, skus: int) -> None:
    """Send *count* letters at *rate* a second."""
    keeper = OrderKeeper(settings)
    step = max(1, int(rate * _TICK_S))
    commands = list(holds(0, count, skus))
    ticks = [keeper.letters(commands[first : first + step]) for first in range(0, count, step)]
    broker = Broker(settings)
    await broker.start()
    try:
        began, sent = time.monotonic(), 0
        while sent < len(ticks):
            # What fell due while the last batches were on their way leaves together.
            due = min(len(ticks), 1 + int((time.monotonic() - began) * rate / step))
            lanes: Lanes = {}
            for tick in ticks[sent:due]:
                for lane, letters in tick.items():
                    lanes.setdefault(lane, []).extend(letters)
            sent = due
            await broker.send(backlog(lanes))
            await asyncio.sleep(max(0.0, began + sent * step / rate - time.monotonic()))
    finally:
        await broker.stop()


def main(arguments: Sequence[str]) -> None:
    """Send as the *arguments* say."""
    rate, count, skus = (int(each) for each in arguments)
    asyncio.run(send(load(), rate, count, skus))


if __name__ == "__main__":
    main(sys.argv[1:])
