"""
A town: workers, broker and database under a plan that one seed makes.

Each step one thing happens: a request arrives, a poll brings records, something is said, the clock
moves, a process dies, is stopped or wakes, partitions move. After each step the witness looks. At
the end the faults stop, everything comes to rest, and the whole check is run.

    seeds 0 mod 3    ample stock; statements of whole lives, shuffled: they must end as if told in
                     order (I9)
    the others       scarce stock, people at work, campaigns, parcels, stocktakes, poison

Promise: one seed, one run, to the byte.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from msgspec import msgpack
from pydantic import SecretStr

from agents.frames import POSITION_BYTES, FrameDecider, Inbox
from agents.letters import Post
from schemas.base import Source
from schemas.errors import Unavailable
from schemas.orders import ObserveOrder, Policy, Statement, Status
from streams.check.checker import CHANGELOGS
from streams.engine import keeper, rounds, sweeper
from streams.engine.keeper import Keeper
from streams.engine.partitions import partitioner
from streams.engine.store import STATE_KEY, Part
from streams.postgres import ledger
from streams.postgres.ledger import NotTheOwner
from streams.settings import Settings
from streams.topics import TOPICS
from streams.topology import ROUTES
from tables.order_rows import HOLDING
from tests import builders
from tests.builders import HOLD_FOR, MINUTE, T0, a_line, a_statement, receive
from tests.simulation.broker import Client, Network
from tests.simulation.database import Database
from tests.simulation.house import House, Record
from tests.simulation.loop import Clock, Loop
from tests.simulation.witness import Violation, Witness, judge, newest, tables_of
from tests.simulation.workers import Worker
from tests.trade import LIFE, ORDERS, QUOTA, SKUS, by_hand, some_lines

RAW = "raw-orders-taobao"
ROLES = ("orders", "stock", "ledger")
PARTITIONS = 2
#: What is said in one town, and how much goes wrong.
SAID, FAULTS = 60, 12
#: Steps after which a town that is not at rest never will be.
REST_WITHIN = 60_000
#: A commit that is older may be compacted away: `min.compaction.lag.ms`.
COMPACTION_LAG_MS = 10 * MINUTE
#: How wrong the wall clocks of workers are.
SKEWS_MS = (0, 0, 0, 90_000, -90_000, 60 * MINUTE, -60 * MINUTE, 400 * 24 * 60 * MINUTE)


@dataclass
class Figures:
    """What a town went through."""

    seed: int
    records: int = 0
    steps: int = 0
    repeats: int = 0
    #: Batches that arrived from a process that was dead or stopped.
    late: int = 0
    #: Fault -> how often.
    faults: dict[str, int] = field(default_factory=dict)


class Town(House):
    """A House whose keepers are workers of the engine, with the ledger behind them."""

    def __init__(self, seed: int, said: int = SAID, faults: int = FAULTS) -> None:
        super().__init__(PARTITIONS)
        self.dice = Random(seed)
        self.loop = Loop()
        self.settings = Settings(
            kafka="simulated:9092",
            postgres_ledger=SecretStr("postgresql://simulated:5432/town"),
            topic_prefix="", partitions=PARTITIONS, failpoint="", snapshots=None, traces="",
            round_every=timedelta(0), foreign_check_every=timedelta(seconds=1),
            drain_for=timedelta(seconds=5), report_every=timedelta(seconds=5),
        )  # fmt: skip
        self.counts = {topic.name: PARTITIONS for topic in TOPICS}
        self._partition_of = partitioner(self.counts)
        self.database = Database()
        self.network = Network(self.log, lambda: self.now_ms)  # type: ignore[arg-type]
        self.witness = Witness(self.logs)
        self.figures = Figures(seed)
        #: Role -> processes of it, the dead ones left out.
        self.workers: dict[str, list[Worker]] = {role: [] for role in ROLES}
        self._generation = dict.fromkeys(ROLES, 0)
        self._moves: dict[str, asyncio.Task[None]] = {}
        self._born = 0
        #: Stopped processes that were woken, and have not heard yet that they are out.
        self._zombies: list[Worker] = []
        self._broken: BaseException | None = None
        self.ample = seed % 3 == 0
        self._left = faults
        self.plan = [*(_lives if self.ample else _trade)(self, said)]
        self.plan.reverse()

    def partition_of(self, topic: str, key: bytes) -> int:
        """Return Kafka's partition of a key."""
        return self._partition_of(topic, key)

    # --- the run ---------------------------------------------------------------------------------

    def run(self) -> Figures:
        """Live through it. Raises Violation where an invariant does not hold."""
        with _in_place(self):
            try:
                self.loop.run_until_complete(self._live())
            finally:
                self._end()
        return self.figures

    async def _live(self) -> None:
        for role in ROLES:
            self._start(role)
        while self.plan or self._left > 0:
            await self._step()
        await self._calm()
        for _ in range(3):
            # Whoever is due is swept, and what stands too long in the changelogs is compacted.
            self.pass_time(HOLD_FOR + MINUTE)
            await self._calm()
            self._compact()
        for role in ROLES:
            for worker in list(self.workers[role]):
                self._kill(worker)
            self._start(role)
        self.pass_time(31 * MINUTE)
        await self._calm()
        self._judge()

    async def _step(self) -> None:
        dice = self.dice
        await self.loop.idle()
        self._look()
        roll = dice.random()
        if roll < 0.012 and self._left > 0:
            self._left -= 1
            self._fault()
        elif roll < 0.05 and self.plan:
            self.plan.pop()()
        elif roll < 0.06:
            self.pass_time(dice.choice((1, 20, 300, 1_500, 6_000)))
        elif roll < 0.07 and self._zombies:
            self._hear_the_truth()
        elif not self._happens():
            if self.plan:
                self.plan.pop()()
            else:
                self.pass_time(300)
                if self._left > 0:
                    self._left -= 1
                    self._fault()

    def _happens(self) -> bool:
        """Let something that is on its way come; False when nothing is."""
        dice, network = self.dice, self.network
        requests = [*network.requests]
        polls = [
            (worker, tp)
            for role in ROLES
            for worker in self.workers[role]
            if worker.alive and not worker.stopped and worker not in self._zombies
            for tp in worker.consumer.waiting()
        ]
        weights = (len(requests), len(network.delays), len(polls))
        if not any(weights):
            return False
        (what,) = dice.choices((0, 1, 2), weights)
        if what == 0:
            network.arrive(dice.choice(requests), forgotten=dice.random() < 0.01)
        elif what == 1:
            network.pass_by(dice.randrange(len(network.delays)))
        else:
            worker, tp = dice.choice(polls)
            if records := worker.consumer.poll(tp, dice.choice((1, 2, 5, 20))):
                worker.role.rounds.put(
                    worker.consumer_generation_id, worker.consumer.polls, {tp: records}
                )
        return True

    def _look(self) -> None:
        self.figures.steps += 1
        self.witness.look()
        if self.database.twice:
            raise Violation("I7", f"written twice: {self.database.twice[0]}")
        if self._broken is not None:
            raise self._broken
        for role in ROLES:
            for worker in self.workers[role]:
                for tp, why in worker.role.halted.items():
                    raise Violation("I7", f"{role}: {tp.topic}/{tp.partition} is halted: {why}")

    def pass_time(self, ms: int) -> None:
        """Move the clock."""
        self.loop.now += ms / 1000
        self.now_ms = T0 + int(self.loop.now * 1000)

    async def _calm(self) -> None:
        """Let everything come to rest, without another fault. I12: it does."""
        for zombie in list(self._zombies):
            self._kill(zombie)
        for role in ROLES:
            for worker in list(self.workers[role]):
                if worker.stopped:
                    self._kill(worker)
            if not self.workers[role]:
                self._start(role)
        quiet = 0
        for _ in range(REST_WITHIN):
            await self.loop.idle()
            self._look()
            if self._happens():
                quiet = 0
                continue
            for role in ROLES:
                if not self.workers[role]:
                    self._start(role)
            # Twice the longest that a worker leaves something to be looked at.
            quiet += 1
            if quiet > 5 and self._at_rest():
                return
            if quiet > 400:
                break
            self.pass_time(500)
        raise Violation("I12", f"nothing moves any more, and work is left: {self._work_left()}")

    def _work_left(self) -> list[str]:
        left = [
            f"{topic}/{p} at {at} of {len(self.log(topic, p))}"
            for (topic, p), at in self._positions().items()
            if at != len(self.log(topic, p))
        ]
        return left + [f"no {role}" for role in ROLES if not self._open(role)]

    def _at_rest(self) -> bool:
        return self.network.quiet and not self._work_left()

    def _open(self, role: str) -> bool:
        """Does somebody have every partition of this role's topics?"""
        there = {tp for worker in self.workers[role] if worker.alive for tp in worker.role.open}
        topics = self.workers[role][0].role.topics if self.workers[role] else ()
        return bool(topics) and len(there) == len(topics) * PARTITIONS

    def _positions(self) -> dict[tuple[str, int], int]:
        found = dict(self.database.positions)
        for role in ("orders", "stock"):
            for worker in self.workers[role]:
                if worker.alive and isinstance(worker.role, Keeper):
                    for p, part in worker.role.store.parts.items():
                        found[worker.role.inbox, p] = part.state.position
        return found

    # --- what goes wrong -------------------------------------------------------------------------

    def _fault(self) -> None:
        dice = self.dice
        role = dice.choice(ROLES)
        there = [worker for worker in self.workers[role] if not worker.stopped]
        kind = dice.choices(
            ("kill", "stop", "rebalance", "join"), (5, 4, 2, 1)
        )[0]  # fmt: skip
        self.figures.faults[kind] = self.figures.faults.get(kind, 0) + 1
        if not there:
            self._start(role)
        elif kind == "kill":
            self._kill(dice.choice(there))
            self._start(role)
        elif kind == "stop":
            self._stop(dice.choice(there))
        elif kind == "rebalance":
            self._rebalance(role)
        else:
            self._start(role)
        asleep = [w for r in ROLES for w in self.workers[r] if w.stopped]
        if asleep and dice.random() < 0.6:
            self._wake(dice.choice(asleep))

    def _start(self, role: str) -> None:
        """A process joins its group, and partitions move."""
        self._born += 1
        worker = Worker(self, role, self._born, self.dice.choice(SKEWS_MS))
        self.workers[role].append(worker)
        self._rebalance(role)

    def _kill(self, worker: Worker) -> None:
        """SIGKILL. What it had sent may still arrive, in its order, or not."""
        worker.kill()
        self._forget(worker)
        for which in [each for each in self.network.requests if each[0] == worker.number]:
            if self.dice.random() < 0.5:
                self.network.lose(which)
        self.network.delays = [each for each in self.network.delays if each[0] is not worker]
        if self.database.holder is not None:
            self.database.hang_up(worker)

    def _forget(self, worker: Worker) -> None:
        if worker in self.workers[worker.name]:
            self.workers[worker.name].remove(worker)
        if worker in self._zombies:
            self._zombies.remove(worker)

    def fell(self, worker: Worker, error: BaseException) -> None:
        """A process ended by itself; its supervisor starts it again."""
        if not worker.alive:
            return
        if not isinstance(error, NotTheOwner | Unavailable):
            self._broken = self._broken or error
        self._kill(worker)
        if not any(not other.stopped for other in self.workers[worker.name]):
            self._start(worker.name)
        else:
            self._rebalance(worker.name)

    def _stop(self, worker: Worker) -> None:
        """SIGSTOP, with work at hand; after its session its partitions go to others."""
        for tp in worker.consumer.waiting():
            if records := worker.consumer.poll(tp, 20):
                worker.role.rounds.put(
                    worker.consumer_generation_id, worker.consumer.polls, {tp: records}
                )
        worker.stopped = True
        self._start(worker.name)

    def _wake(self, worker: Worker) -> None:
        """SIGCONT: it goes on with what it was doing, until it hears that it is out."""
        self._zombies.append(worker)
        self.workers[worker.name].remove(worker)
        worker.wake()

    def _hear_the_truth(self) -> None:
        zombie = self._zombies.pop(self.dice.randrange(len(self._zombies)))
        zombie.consumer_generation_id += 1
        self._kill(zombie)

    def bad_luck(self) -> str:
        """Say what becomes of a COMMIT on its way; nothing while the town comes to rest."""
        if not self.plan or self.dice.random() > 0.03:
            return ""
        self.figures.faults["cut"] = self.figures.faults.get("cut", 0) + 1
        return self.dice.choice(("before commit", "after commit"))

    # --- who has what ----------------------------------------------------------------------------

    def _rebalance(self, role: str) -> None:
        """Everybody lets go, then everybody takes, as the group's protocol has it."""
        self._generation[role] += 1
        if (before := self._moves.get(role)) is not None:
            before.cancel()
        self._moves[role] = self.loop.create_task(self._move(role, self._generation[role]))

    async def _move(self, role: str, generation: int) -> None:
        there = [worker for worker in self.workers[role] if not worker.stopped]
        going = [worker.spawn(worker.revoked()) for worker in there]
        while not all(task.done() for task in going):
            wait = [task for task in going if not task.done()]
            await asyncio.wait(wait)
        there = [worker for worker in there if worker.alive and not worker.stopped]
        if not there:
            return
        shares: list[set[int]] = [set() for _ in there]
        for partition in range(PARTITIONS):
            self.dice.choice(shares).add(partition)
        for worker, share in zip(there, shares, strict=True):
            worker.spawn(worker.assigned(share, generation))

    def _compact(self) -> None:
        """
        Let the log cleaner run: of each key the record that was written last stays.

        Never what is younger than the lag, nor the end of the log, which stands in the segment that
        is written to.
        """
        for topic in CHANGELOGS:
            for partition in range(PARTITIONS):
                log: list[Record | None] = self.log(topic, partition)  # type: ignore[assignment]
                old = [
                    each
                    for each in log[:-1]
                    if each is not None and each.timestamp <= self.now_ms - COMPACTION_LAG_MS
                ]
                last = {each.key: each.offset for each in log if each is not None}
                for each in old:
                    if last[each.key] > each.offset:
                        log[each.offset] = None

    # --- at the end ------------------------------------------------------------------------------

    def _judge(self) -> None:
        figures = self.figures
        figures.records = self.witness.records
        figures.repeats, figures.late = self.witness.repeats, self.network.late
        for finding in judge(self.logs, tables_of(self.database), self.now_ms):
            if finding.violations:
                raise Violation(finding.id, str(finding.examples[0]))
        for role in ("orders", "stock"):
            for worker in self.workers[role]:
                assert isinstance(worker.role, Keeper)
                for p, part in worker.role.store.parts.items():
                    self._is_what_is_written(worker.role, p, part)
                    self._is_what_comes_again(worker.role, p, part)
        if self.ample:
            self._is_as_if_told_in_order()

    def _is_what_is_written(self, role: Keeper, p: int, part: Part) -> None:
        """I8: memory is what recovery makes of the changelog, and of its greatest positions alone."""
        log = [each for each in self.log(role.changelog, p) if each is not None]
        for records in (log, newest(log)):
            again = Part()
            again.take(records)
            again.settle()
            if again.halted:
                raise Violation("I8", f"{role.changelog}/{p}: {again.halted}")
            if (_bare(again.rows), again.state) != (_bare(part.rows), part.state):
                raise Violation("I8", f"{role.changelog}/{p} is not what its owner has in memory")

    def _is_what_comes_again(self, role: Keeper, p: int, part: Part) -> None:
        """I8: the whole inbox, given to an empty keeper, gives the same rows, state and letters."""
        again = Part()
        post = Post(role.name, role.table.number, p, ROUTES, self.partition_of)
        decider = FrameDecider({}, again.state, role.table, Inbox(role.inbox, p), post)
        rows: dict[bytes, bytes] = {}
        letters: dict[str, int] = {}
        for slice_ in decider.decide(self.log(role.inbox, p)):  # type: ignore[arg-type]
            rows |= {key: row for key, row in slice_.changes.items() if row is not None}
            for key in [key for key, row in slice_.changes.items() if row is None]:
                rows.pop(key, None)
            for lane, sent in slice_.letters.lanes.items():
                letters[lane] = letters.get(lane, 0) + len(sent)
            again.state = slice_.state
        if (_bare(rows), again.state) != (_bare(part.rows), part.state):
            raise Violation("I8", f"{role.inbox}/{p} decided again gives other rows or counters")
        if letters != part.state.sent:
            raise Violation("I8", f"{role.inbox}/{p} decided again says other letters")

    def _is_as_if_told_in_order(self) -> None:
        """I9: every order, and every SKU, is as if each platform had spoken once and in order."""
        tidy = House(PARTITIONS)
        tidy.now_ms = T0
        tidy.tell(*(receive(sku, AMPLE) for sku in SKUS))
        tidy.settle()
        for said in sorted(self.statements, key=lambda each: each.statement.stated_ms):
            tidy.tell(said)
            tidy.settle()
        tidy.now_ms = self.now_ms
        for keeper_ in tidy.keepers.values():
            for raw in list(keeper_.rows.values()):
                row = keeper_.table.decode_row(raw[POSITION_BYTES:])
                due = keeper_.table.deadline_ms and keeper_.table.deadline_ms(row)
                if due is not None and due <= tidy.now_ms and keeper_.table.wake:
                    tidy.tell(keeper_.table.wake(row))
        tidy.settle()
        here = self._rows("orders")
        for order in ORDERS:
            found, expected = here.get(f"taobao:lamps:{order}"), _order_of(tidy, order)
            if _gist(found) != _gist(expected):
                raise Violation(
                    "I9", f"order {order}: {_gist(found)}, told in order {_gist(expected)}"
                )
        rows = self._rows("stock")
        for sku in SKUS:
            balance = tidy.balance(sku)
            if _buckets(rows.get(sku)) != _buckets(balance):
                raise Violation(
                    "I9", f"{sku}: {_buckets(rows.get(sku))}, told in order {_buckets(balance)}"
                )

    def _rows(self, role: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for worker in self.workers[role]:
            assert isinstance(worker.role, Keeper)
            for part in worker.role.store.parts.values():
                for key, raw in part.rows.items():
                    if key != STATE_KEY:
                        found[key.decode()] = worker.role.table.decode_row(raw[POSITION_BYTES:])
        return found

    def _end(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(self.loop.idle())
        self.loop.close()

    # --- what is said ----------------------------------------------------------------------------

    @property
    def statements(self) -> list[ObserveOrder]:
        """Everything that was observed, each once."""
        return list(self._observed.values())

    _observed: dict[str, ObserveOrder]

    def hear(self, said: Statement, **policy: Any) -> None:
        """A platform speaks: now and then twice, and intake repeats itself after a crash."""
        dice, partition = self.dice, self.dice.randrange(PARTITIONS)
        log = self.log(RAW, partition)
        for _ in range(1 + (dice.random() < 0.15)):
            body = msgpack.encode(said)
            digest = f"{builders.hash_of(said):016x}"
            source = Source(RAW, partition, len(log), "taobao/1", digest, self.now_ms)
            log.append(Record(len(log), self.now_ms, None, body))
            command = ObserveOrder(statement=said, policy=Policy(**policy), source=source)
            self._observed.setdefault(digest, command)
            self.tell(*[command] * (1 + (dice.random() < 0.1)))

    def junk(self) -> None:
        """Somebody writes what is no message of ours into an inbox."""
        topic = self.dice.choice(("order-commands", "stock-commands"))
        value = self.dice.choice((b"junk, and long enough to have a prefix", b"", b"\0" * 16 + b"\xc1"))
        self._append(topic, self.dice.randrange(PARTITIONS), b"junk", value)


AMPLE = 100_000


def _lives(town: Town, said: int) -> Iterator[Callable[[], None]]:
    """Whole lives of orders, each told in any order."""
    town._observed = {}
    dice = town.dice
    for sku in SKUS:
        yield lambda sku=sku: town.tell(receive(sku, AMPLE))
    told: list[Statement] = []
    for number, order in enumerate(ORDERS):
        units = {sku: dice.randint(1, 3) for sku in dice.sample(SKUS, dice.randint(1, 3))}
        lines = [a_line(sku, quantity) for sku, quantity in units.items()]
        life = [Status.PENDING_PAYMENT, Status.PAID, Status.SHIPPED][: dice.randint(1, 3)]
        if dice.random() < 0.4:
            life = [*life[:2], Status.CANCELLED]
        for at, status in enumerate(life):
            told.append(a_statement(status, *lines, order=order, at=10 * at + number))
    told *= max(1, said // len(told) // 2)
    dice.shuffle(told)
    for statement in told:
        yield lambda statement=statement: town.hear(statement)


def _trade(town: Town, said: int) -> Iterator[Callable[[], None]]:
    """A day that nobody planned."""
    town._observed = {}
    dice = town.dice
    for sku in SKUS:
        yield lambda sku=sku: town.tell(receive(sku, dice.randint(3, 20)))
    partial = dice.random() < 0.2

    def speak(step: int) -> None:
        status = dice.choice(LIFE) if dice.random() < 0.9 else Status.CANCELLED
        town.hear(
            a_statement(
                status, *some_lines(dice), order=dice.choice(ORDERS),
                at=step - dice.choice((0, 0, 5)),
            ),
            hold_for_ms=HOLD_FOR, partial=partial, quota=dice.choice(("", QUOTA)),
        )  # fmt: skip

    def by_an_operator() -> None:
        command = by_hand(dice, town.now_ms)
        town.tell(*[command] * (1 + (dice.random() < 0.2)))

    for step in range(said):
        roll = dice.random()
        if roll < 0.6:
            yield lambda step=step: speak(step)
        elif roll < 0.9:
            yield by_an_operator
        elif roll < 0.94:
            yield town.junk
        else:
            yield lambda: town.pass_time(dice.choice((1_000, MINUTE // 2, 16 * MINUTE)))


def _bare(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: row[POSITION_BYTES:] for key, row in rows.items()}


def _order_of(house: House, order: str) -> Any:
    return house.row("orders", f"taobao:lamps:{order}".encode())


def _gist(row: Any) -> Any:
    if row is None:
        return None
    held = sorted(
        (demand.sku, demand.quantity, demand.held.value)
        for demand in row.demands
        if demand.held in HOLDING or demand.shipped
    )
    lines = [(line.sku, line.quantity, line.line_total) for line in row.lines]
    return (row.status.value, row.total, lines, held, sorted(row.cases))


def _buckets(row: Any) -> Any:
    return row and (row.available, row.locked, row.occupied, row.reserved, row.frozen)


@contextmanager
def _in_place(town: Town) -> Iterator[None]:
    """Put the simulated clock, client and server where the engine has the real ones."""
    builders.first_id_again()
    clock = Clock(lambda: town.loop.now)
    places: list[tuple[Any, str, Any]] = [
        (rounds, "time", clock),
        (keeper, "time", clock),
        (sweeper, "time", clock),
        (keeper, "aiokafka", Client(town.log)),  # type: ignore[arg-type]
        (ledger, "connect", town.database.connect),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    silent = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
        logging.disable(silent)


__all__ = ["Figures", "Town", "Violation"]
