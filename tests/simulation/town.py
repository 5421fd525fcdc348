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
from zlib import crc32

from pydantic import SecretStr

from schemas.errors import Unavailable
from schemas.orders import ObserveOrder
from streams.check.checker import CHANGELOGS
from streams.engine import keeper, rounds, sweeper
from streams.engine.keeper import Keeper
from streams.engine.partitions import partitioner
from streams.postgres import ledger
from streams.postgres.ledger import NotTheOwner
from streams.settings import Settings
from streams.topics import TOPICS
from tests import builders
from tests.builders import HOLD_FOR, MINUTE, T0
from tests.simulation.broker import Client, Network
from tests.simulation.closing import close
from tests.simulation.database import Database
from tests.simulation.house import House, Record
from tests.simulation.loop import Clock, Loop
from tests.simulation.saying import lives, trade
from tests.simulation.witness import Violation, Witness
from tests.simulation.workers import Worker

RAW = "raw-orders-taobao"
ROLES = ("orders", "stock", "ledger")
PARTITIONS = 2
#: What is said in one town, and how much goes wrong.
SAID, FAULTS = 60, 12
#: What a step may be, and how often: a fault, something said, time that passes, a process that was
#: stopped hears that it is out; mostly, something that is on its way arrives.
TURNS = (("fault", "say", "wait", "truth", "come"), (1.2, 3.8, 1, 1, 93))
WAITS_MS = (1, 20, 300, 1_500, 6_000)
#: What goes wrong, and how often.
KINDS = (("kill", "stop", "rebalance", "join"), (5, 4, 2, 1))
#: Steps after which a town that is not at rest never will be.
REST_WITHIN = 60_000
#: A commit that is older may be compacted away: `min.compaction.lag.ms`.
COMPACTION_LAG_MS = 10 * MINUTE
#: Where nothing is on its way, the clock moves by so much; after so many of them a town is at rest
#: (a worker looks at everything it looks at within), or will never be.
STEP_MS, QUIET_STEPS, STUCK_STEPS = 500, 5, 400
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
    #: Of them, commits on a changelog.
    late_commits: int = 0
    #: Records that the log cleaner took away.
    compacted: int = 0
    #: Of all that was written, so that two runs of one seed can be compared.
    print: int = 0
    #: Fault -> how often.
    faults: dict[str, int] = field(default_factory=dict)


class Town(House):
    """A House whose keepers are workers of the engine, with the ledger behind them."""

    def __init__(
        self,
        seed: int,
        said: int = SAID,
        faults: int = FAULTS,
        trace: Callable[[str], None] | None = None,
    ) -> None:
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
        #: Records that the log cleaner took away.
        self.compacted = 0
        #: Role -> processes of it, the dead ones left out.
        self.workers: dict[str, list[Worker]] = {role: [] for role in ROLES}
        self._generation = dict.fromkeys(ROLES, 0)
        self._moves: dict[str, asyncio.Task[None]] = {}
        self._born = 0
        #: Stopped processes that were woken, and have not heard yet that they are out.
        self._zombies: list[Worker] = []
        self._broken: BaseException | None = None
        self._trace = trace
        self._told: dict[tuple[str, int], int] = {}
        self.ample = seed % 3 == 0
        self._left = faults
        #: Digest -> what was observed.
        self.observed: dict[str, ObserveOrder] = {}
        self.plan = [*(lives if self.ample else trade)(self, said)]
        self.plan.reverse()

    def partition_of(self, topic: str, key: bytes) -> int:
        """Return Kafka's partition of a key."""
        return self._partition_of(topic, key)

    # --- the run ---------------------------------------------------------------------------------

    def run(self) -> Figures:
        """Live through it. Raises Violation where an invariant does not hold."""
        with in_place(self):
            try:
                self.loop.run_until_complete(self._live())
            finally:
                self.end()
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
        self._count()
        close(self)

    async def _step(self) -> None:
        await self.loop.idle()
        self._look()
        (turn,) = self.dice.choices(*TURNS)
        if turn == "fault" and self._left > 0:
            self._fault()
        elif turn == "say" and self.plan:
            self.plan.pop()()
        elif turn == "wait":
            self.pass_time(self.dice.choice(WAITS_MS))
        elif turn == "truth" and self._zombies:
            self._hear_the_truth()
        elif not self._happens():
            self._go_on()

    def _go_on(self) -> None:
        """Nothing is on its way: say the next thing, or break something."""
        if self.plan:
            self.plan.pop()()
            return
        self.pass_time(STEP_MS)
        if self._left > 0:
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
            # What a dead or stopped process has sent takes its time; others go on meanwhile.
            speeds = [0.1 if network.is_late(each) else 1.0 for each in requests]
            (which,) = dice.choices(requests, speeds)
            network.arrive(which, forgotten=dice.random() < 0.01)
        elif what == 1:
            network.pass_by(dice.randrange(len(network.delays)))
        else:
            worker, tp = dice.choice(polls)
            # Faust may read again what it had fetched before.
            again = dice.randint(1, 4) if dice.random() < 0.05 else 0
            if records := worker.consumer.poll(tp, dice.choice((1, 2, 5, 20)) + again, again):
                worker.role.rounds.put(
                    worker.consumer_generation_id, worker.consumer.polls, {tp: records}
                )
        return True

    def _look(self) -> None:
        self.figures.steps += 1
        if self._trace is not None:
            self._tell_appended()
        self.witness.look()
        if self.database.twice:
            raise Violation("I7", f"written twice: {self.database.twice[0]}")
        if self._broken is not None:
            raise self._broken
        for role in ROLES:
            for worker in self.workers[role]:
                for tp, why in worker.role.halted.items():
                    raise Violation("I7", f"{role}: {tp.topic}/{tp.partition} is halted: {why}")

    def _tell_appended(self) -> None:
        for (topic, partition), log in self.logs.items():
            known = self._told.get((topic, partition), 0)
            if known < len(log):
                self._told[topic, partition] = len(log)
                self.note(f"{topic}/{partition} has {known}..{len(log) - 1}")

    def note(self, what: str) -> None:
        """Tell whoever traces this run what happens."""
        if self._trace is not None:
            self._trace(f"step {self.figures.steps:>5}  {self.loop.now:>10.3f} s  {what}")

    def pass_time(self, ms: int) -> None:
        """Move the clock."""
        self.loop.now += ms / 1000
        self.now_ms = T0 + int(self.loop.now * 1000)

    async def _calm(self) -> None:
        """Let everything come to rest, without another fault. I12: it does."""
        for worker in [*self._zombies, *(w for role in ROLES for w in self.workers[role])]:
            if worker.stopped or worker in self._zombies:
                self._kill(worker)
        still = 0
        for _ in range(REST_WITHIN):
            await self.loop.idle()
            self._look()
            still = 0 if self._happens() else still + 1
            if not still:
                continue
            self._start_missing()
            if still > QUIET_STEPS and self.network.quiet and not self._work_left():
                return
            if still > STUCK_STEPS:
                break
            self.pass_time(STEP_MS)
        raise Violation("I12", f"nothing moves any more, and work is left: {self._work_left()}")

    def _start_missing(self) -> None:
        for role in ROLES:
            if not self.workers[role]:
                self._start(role)

    def _work_left(self) -> list[str]:
        left = [
            f"{topic}/{p} at {at} of {len(self.log(topic, p))}"
            for (topic, p), at in self._positions().items()
            if at != len(self.log(topic, p))
        ]
        return left + [f"no {role}" for role in ROLES if not self._open(role)]

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
        self._left -= 1
        dice = self.dice
        role = dice.choice(ROLES)
        there = [worker for worker in self.workers[role] if not worker.stopped]
        (kind,) = dice.choices(*KINDS)
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
        self.note(f"{worker} joins, its clock is {worker.skew_ms} ms wrong")
        self.workers[role].append(worker)
        self._rebalance(role)

    def _kill(self, worker: Worker) -> None:
        """SIGKILL. What it had sent may still arrive, in its order, or not."""
        self.note(f"{worker} is killed")
        worker.kill()
        self._forget(worker)
        for which in [each for each in self.network.requests if each[0] == worker.number]:
            if self.dice.random() < 0.3:
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
        self.note(f"{worker} falls: {error!r}")
        # Whoever was stopped while it read what another had written finds that its time is up.
        out_of_time = isinstance(error, TimeoutError) and worker.stopped
        if not (isinstance(error, NotTheOwner | Unavailable) or out_of_time):
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
        self.note(f"{worker} is stopped")
        worker.stopped = True
        self._start(worker.name)

    def _wake(self, worker: Worker) -> None:
        """SIGCONT: it goes on with what it was doing, until it hears that it is out."""
        self.note(f"{worker} wakes, and does not know")
        self._zombies.append(worker)
        self.workers[worker.name].remove(worker)
        worker.wake()

    def _hear_the_truth(self) -> None:
        """It is out: it ends, or joins again, with all that it still has in memory."""
        zombie = self._zombies.pop(self.dice.randrange(len(self._zombies)))
        if self.dice.random() < 0.5:
            zombie.consumer_generation_id += 1
            self._kill(zombie)
            return
        self.note(f"{zombie} hears that it is out, and joins again")
        self.figures.faults["rejoin"] = self.figures.faults.get("rejoin", 0) + 1
        self.workers[zombie.name].append(zombie)
        self._rebalance(zombie.name)

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
            self.note(f"{worker} has {sorted(share)} in generation {generation}")
            worker.assign(share, generation)

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
                        self.compacted += 1

    def _count(self) -> None:
        figures = self.figures
        figures.records, figures.repeats = self.witness.records, self.witness.repeats
        figures.late = sum(self.network.late.values())
        figures.late_commits = sum(self.network.late[topic] for topic in CHANGELOGS)
        figures.compacted = self.compacted
        whole = repr([*self.logs.items()]) + repr(self.database.appended)
        figures.print = crc32(whole.encode())

    def end(self) -> None:
        """End whatever still runs."""
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(self.loop.idle())
        self.loop.close()


@contextmanager
def in_place(town: Town) -> Iterator[None]:
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


__all__ = ["Figures", "Town", "Violation", "in_place"]
