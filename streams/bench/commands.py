"""
The job that is measured: hold units of one SKU for one order, so many times.

The same numbers make the same commands on both sides: ours as the order keeper's numbered
letters, Faust's as JSON.
"""

from collections.abc import Iterable, Iterator

from agents.letters import Addressed, Letterbox, Post, seal
from schemas.base import order_key
from schemas.stock import HoldStock, ReceiveStock
from streams.clock import new_id
from streams.engine.partitions import partitioner
from streams.settings import Settings
from streams.topics import ORDER_COMMANDS, STOCK_COMMANDS
from streams.topology import ROUTES
from tables import orders

#: Neighbouring orders ask for SKUs that are far apart.
_STRIDE = 7919
_UNITS_MAX = 3
#: Enough of every SKU that no hold is refused: each command does the whole work.
PLENTY = 100_000_000
_DEADLINE_MS = 4_102_444_800_000

Lane = tuple[str, int]
Lanes = dict[Lane, list[Addressed]]


def sku(number: int, skus: int) -> str:
    """Return the SKU that order *number* asks for."""
    return f"SKU-{number * _STRIDE % skus:06d}"


def holds(first: int, count: int, skus: int) -> Iterator[HoldStock]:
    """Yield the commands of the orders *first* and after."""
    for number in range(first, first + count):
        yield HoldStock(
            order=order_key("taobao", "bench", f"{number:012d}"),
            sku=sku(number, skus),
            quantity=1 + number % _UNITS_MAX,
            attempt=1,
            deadline_ms=_DEADLINE_MS,
            cause=f"raw-orders-taobao/{number % 12}/{number}",
        )


def receipts(first: int, skus: int) -> Iterator[ReceiveStock]:
    """Yield what fills the shelves of the SKUs from *first* on."""
    for number in range(first, skus):
        yield ReceiveStock(
            id=new_id(),
            sku=f"SKU-{number:06d}",
            quantity=PLENTY,
            reason="benchmark",
            operator="bench",
        )


class OrderKeeper:
    """The order keeper as the stock keeper knows it: its letters, numbered without a gap."""

    def __init__(self, settings: Settings) -> None:
        counts = {
            ORDER_COMMANDS.name: settings.partitions,
            STOCK_COMMANDS.name: settings.partitions,
        }
        self._partition_of = partitioner(counts)
        self._posts = [
            Post(orders.TABLE.name, orders.TABLE.number, p, ROUTES, self._partition_of)
            for p in range(settings.partitions)
        ]
        self._sent: list[dict[str, int]] = [{} for _ in self._posts]

    def letters(self, commands: Iterable[HoldStock]) -> Lanes:
        """Return *commands* as they wait for each partition of the inbox, in order."""
        box = Letterbox()
        for command in commands:
            home = self._partition_of(ORDER_COMMANDS.name, command.order.encode())
            self._posts[home].address([command], self._sent[home], 0, 0, box)
        found = {}
        for name, letters in box.lanes.items():
            topic, _, partition = name.rpartition("/")
            found[(topic, int(partition))] = letters
        return found

    def receipts(self, skus: int) -> Lanes:
        """Return the operators' unnumbered commands that receive stock."""
        lanes: Lanes = {}
        for command in receipts(0, skus):
            key = command.sku.encode()
            lane = (STOCK_COMMANDS.name, self._partition_of(STOCK_COMMANDS.name, key))
            lanes.setdefault(lane, []).append((key, seal(command), []))
        return lanes
