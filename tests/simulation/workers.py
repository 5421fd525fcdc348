"""
A worker: one process with one role of the engine, real from its rounds to its rules.

What it is given instead of Faust is what Faust would do: partitions come and go, changelogs are
read into the table, polls are handed to the rounds. What it holds in memory dies with it.
"""

import asyncio
from collections.abc import Callable, Collection
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from faust.types import TP

from streams.engine.keeper import Keeper
from streams.engine.metrics import Metrics
from streams.engine.rounds import Role
from streams.engine.store import Part
from streams.roles import ROLES
from tests.simulation.broker import Consumer, Network, Producer
from tests.simulation.loop import WORKER

if TYPE_CHECKING:
    from tests.simulation.town import Town

METRICS = Metrics()
#: Records of a changelog that one poll brings: it ends anywhere, also within a commit.
POLLS = (7, 20, 50)


class _Store:
    """The keeper's partitions, where Faust's recovery would have filled them."""

    def __init__(self) -> None:
        self.parts: dict[int, Part] = {}
        self.known: set[int] = set()


class Worker:
    """One process. The engine takes it for its Faust app."""

    in_recovery = False
    metrics = METRICS

    def __init__(self, town: "Town", role: str, number: int, skew_ms: int) -> None:
        self.town = town
        self.number = number
        self.name = role
        #: How wrong its wall clock is.
        self.skew_ms = skew_ms
        self.alive = True
        #: SIGSTOP: it hears nothing and says nothing, and does not know.
        self.stopped = False
        #: A recovery has read everything: what it asks now takes its time.
        self.is_recovering = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.network: Network = town.network
        self.consumer = Consumer(self, town.log)
        self.producer = Producer(self, town.network)
        self.consumer_generation_id = 0
        self.counts = town.counts
        self.topic_ids: dict[str, bytes] = {}
        self.partition_of = town.partition_of
        self._letterbox: list[Callable[[], object]] = []
        self._waking: list[asyncio.Future[None]] = []
        self.role: Role = ROLES[role](town.settings)
        self.role.bind(self, town.settings)  # type: ignore[arg-type]
        if isinstance(self.role, Keeper):
            self.role.store = _Store()  # type: ignore[assignment]
        self._begun = False
        self._recovering: asyncio.Task[Any] | None = None

    def __str__(self) -> str:
        return f"{self.name} worker {self.number}"

    @property
    def generation_is_over(self) -> bool:
        """Was it stopped, so that others have its partitions, whether it knows or not?"""
        return self not in self.town.workers[self.name] or self.stopped

    def spawn(self, coro: Any) -> "asyncio.Task[Any]":
        """Run something as this process."""
        context = copy_context()
        context.run(WORKER.set, self)
        task = context.run(asyncio.get_running_loop().create_task, coro)
        task.add_done_callback(self.watch)
        return task

    # As the engine's app.

    def fail(self, error: BaseException) -> None:
        """End the process, for this reason."""
        self.town.fell(self, error)

    def watch(self, task: "asyncio.Task[Any]") -> None:
        """Let the end of *task* by an error be the process's end."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def bad_luck(self) -> str:
        """Say what becomes of a COMMIT on its way."""
        return self.town.bad_luck()

    # As a process.

    async def awake(self) -> None:
        """Go on; for a stopped process, once it is woken; for a dead one never."""
        while self.stopped or not self.alive:
            wait: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waking.append(wait)
            await wait

    def hear(self, answer: Callable[[], object]) -> None:
        """Take an answer; a stopped process finds it when it wakes."""
        if self.stopped:
            self._letterbox.append(answer)
        elif self.alive:
            answer()

    def wake(self) -> None:
        """SIGCONT: everything that came meanwhile is there at once."""
        self.stopped = False
        for answer in self._letterbox:
            answer()
        self._letterbox.clear()
        for wait in self._waking:
            if not wait.done():
                wait.set_result(None)
        self._waking.clear()

    def kill(self) -> None:
        """SIGKILL: nothing in memory is left."""
        self.alive = False
        for task in list(self.tasks):
            task.cancel()

    # As a member of its group.

    async def revoked(self) -> None:
        """Let go of everything, once the running round has ended; a recovery is broken off."""
        if self._recovering is not None:
            self._recovering.cancel()
        self.role.close()
        await self.role.closed()

    def assign(self, partitions: Collection[int], generation: int) -> None:
        """Take partitions, in a task of this process."""
        self._recovering = self.spawn(self._assigned(partitions, generation))

    async def _assigned(self, partitions: Collection[int], generation: int) -> None:
        """Take partitions: read their changelogs, go on at their positions."""
        role = self.role
        self.consumer_generation_id = generation
        role.coming()
        self.consumer.assigned = [TP(t, p) for t in role.topics for p in sorted(partitions)]
        self.consumer.reads.clear()
        self.consumer.paused.clear()
        if isinstance(role, Keeper):
            await self._recover(role, partitions)
        role.begin()
        if not self._begun:
            self._begun = True
            self.spawn(role.rounds.run())

    async def _recover(self, keeper: Keeper, partitions: Collection[int]) -> None:
        store: Any = keeper.store
        store.known = set()
        store.parts = {p: store.parts.get(p) or Part() for p in partitions}
        for p, part in store.parts.items():
            # Faust reads the record before once more.
            start = max(0, part.begins_at() - 1)
            log = self.town.log(keeper.changelog, p)[start:]
            records = [each for each in log if each is not None]
            while records:
                some = self.town.dice.choice(POLLS)
                part.take(records[:some])
                del records[:some]
                await self.network.pause(self)
        # Faust does not break this off, whatever moves meanwhile.
        await asyncio.wait([self.spawn(self._recovered(keeper))])

    async def _recovered(self, keeper: Keeper) -> None:
        store: Any = keeper.store
        parts = store.parts
        for part in parts.values():
            part.settle()
        self.is_recovering = True
        await keeper.recovered(0.0)
        self.is_recovering = False
        if store.parts is parts:
            store.known = set(parts)
