"""The seeded bugs, and how one is planted in a copy of the tree."""

import shutil
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
#: What a copy needs to run as the house does: our packages, the tests, what they read.
TREE = ("schemas", "tables", "agents", "streams", "tests", "deploy", "docs", "pyproject.toml")


class Edit(NamedTuple):
    """One piece of text, which stands once in its file, and what replaces it."""

    file: str
    before: str
    after: str


class Simulation(NamedTuple):
    """Towns in one process (tests/simulation), one after the other."""

    #: One that is known to show the bug; the first ones do, where none is named.
    town: int = 0


class Chaos(NamedTuple):
    """A plan of `orderflow chaos`, on the real stack."""

    plan: str
    seed: int = 1
    orders: int = 2_000


class Tests(NamedTuple):
    """Tests by name."""

    names: tuple[str, ...]
    #: They need the real stack.
    stack: bool = False


Battery = Simulation | Chaos | Tests


class Mutant(NamedTuple):
    """One guard taken out."""

    name: str
    #: Its number in the list of bugs that every battery must catch; 0: one that was added.
    number: int
    #: What the guard is for, so that it is clear what a survivor would mean.
    guard: str
    #: The invariants of which one must be violated, or how the test that must fail is called;
    #: `repeats`: letters came twice, or writes were foreign, without a reason.
    red: tuple[str, ...]
    edits: tuple[Edit, ...]
    #: What must catch it.
    battery: Battery = Simulation()

    @property
    def is_cheap(self) -> bool:
        """Needs neither the real stack nor minutes, so every run of the tests may plant it."""
        return isinstance(self.battery, Simulation) or (
            isinstance(self.battery, Tests) and not self.battery.stack
        )


def planted(mutant: Mutant, into: Path) -> Path:
    """
    Return a copy of the tree in *into* that has the bug.

    Start processes with it as their working directory and as PYTHONPATH. Raises ValueError where
    the text to replace is not there exactly once: the table is older than the code.
    """
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, into / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, into / name)
    for file, before, after in mutant.edits:
        path = into / file
        text = path.read_text(encoding="utf-8")
        if text.count(before) != 1:
            raise ValueError(f"{mutant.name}: {file} has {text.count(before)} times: {before!r}")
        text = text.replace(before, after)
        # A mistake in the table's own text would be caught by everything, and prove nothing.
        compile(text, file, "exec")
        path.write_text(text, encoding="utf-8")
    return into


_KEEPER = "tests/integration/test_engine_keeper.py"
_OWN_WORD = f"{_KEEPER}::test_where_a_keeper_goes_on_is_its_own_word_and_not_its_groups"
_NEW_GROUP = f"{_KEEPER}::test_a_new_group_on_a_filled_topic_loses_nothing"
_LOST_CHANGELOG = f"{_KEEPER}::test_t55_a_changelog_that_is_lost_is_made_again_from_the_inbox"
_LATE = "tests/flows/test_late_recoveries.py"
_TOO_LATE = f"{_LATE}::test_rows_that_are_written_over_too_late_leave_the_state_of_the_new_owner"
_SEEK = Edit(
    "streams/engine/keeper.py",
    "            known[tp] = part.state.position\n        return known\n",
    "            known[tp] = part.state.position\n"
    "        return await self.consumer.committed(list(known))\n",
)

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "the last record of a key wins",
        1,
        "recovery takes the greatest position of each key, so a stopped worker's late commit loses",
        ("I1", "I5", "I7", "I8", "T21"),
        (
            Edit(
                "streams/engine/store.py",
                "            elif value < known:\n",
                "            elif value < known and record.offset < 0:\n",
            ),
            Edit(
                "streams/engine/store.py",
                "        if at < known:\n",
                "        if at < known and record.offset < 0:\n",
            ),
        ),
    ),
    Mutant(
        "changelog before letters",
        2,
        "a position is only written once every letter up to it is with the broker",
        ("I4", "I7", "I12"),
        (
            Edit(
                "streams/engine/keeper.py",
                "        sent = await self._send_letters(letters)\n"
                "        return partial(self._settle, waves, sent, generation)\n",
                "        return partial(self._settle, waves, letters, generation)\n",
            ),
            Edit(
                "streams/engine/keeper.py",
                "        await all_of(sent)\n        if visit := self._after_letters:\n",
                "        if visit := self._after_letters:\n",
            ),
            Edit(
                "streams/engine/keeper.py",
                "            await self._commit(decided, generation)\n\n    def _slices(",
                "            await self._commit(decided, generation)\n"
                "        await all_of(await self._send_letters(sent))\n\n    def _slices(",
            ),
        ),
    ),
    Mutant(
        "letters are not waited for",
        2,
        "the same, where letters go out first and their acknowledgement is not waited for",
        ("I4", "I7", "I12"),
        (
            Edit(
                "streams/engine/keeper.py",
                "        await all_of(sent)\n        if visit := self._after_letters:\n",
                "        if visit := self._after_letters:\n",
            ),
        ),
        Simulation(town=3),
    ),
    Mutant(
        "a receiver does not look at the numbers of letters",
        3,
        "a letter that comes again is dropped, one that is missing halts",
        ("I1", "I4", "I6", "I7", "I8", "I12", "T21"),
        (
            Edit(
                "agents/letters.py",
                "    if last == (epoch, number - 1):\n        got[sender] = (epoch, number)\n",
                "    if sender < ANNOUNCED:\n        got[sender] = (epoch, number)\n",
            ),
        ),
    ),
    Mutant(
        "intake acknowledges before its output is acknowledged",
        4,
        "a raw record is read again until the broker has what was made of it",
        ("I4", "I5"),
        (
            Edit(
                "streams/engine/agent.py",
                "        if visit := self._before_ack:\n",
                "        self.moved(batches)\n"
                "        self._acknowledged = dict(self._next)\n"
                "        await self._commit()\n"
                "        if visit := self._before_ack:\n",
            ),
        ),
        Chaos("intake-before-ack"),
    ),
    Mutant(
        "the gateway says 2xx before the broker has the push",
        4,
        "a platform sends again what had no 2xx, and nothing that had one",
        ("feed",),
        (
            Edit(
                "streams/gateway/web.py",
                "        if visit := self._before_ack:\n"
                "            visit()\n"
                "        try:\n"
                "            place = await self._door.put(platform, name, payload, traceparent)\n",
                "        async def later() -> None:\n"
                "            if visit := self._before_ack:\n"
                "                visit()\n"
                "            await self._door.put(platform, name, payload, traceparent)\n\n"
                "        try:\n"
                "            import asyncio\n"
                "            self._late = asyncio.create_task(later())\n"
                "            place = Place('', 0, 0)\n",
            ),
        ),
        Chaos("gateway-before-ack"),
    ),
    Mutant(
        "the producer is not idempotent",
        5,
        "the broker drops what a producer sends again because it has not heard the answer",
        ("repeats",),
        (
            Edit(
                "streams/engine/producer.py",
                '"enable_idempotence": True',
                '"enable_idempotence": False',
            ),
        ),
        Chaos("sends-cut"),
    ),
    Mutant(
        "a hold expires by the wall clock",
        6,
        "deadlines are compared with the append time in the log, which is the same for everybody",
        ("I6", "I7", "I8"),
        (
            Edit(
                "tables/orders.py",
                '    """The log\'s clock decides: before the deadline, or after payment, nothing '
                'happens (T34)."""\n',
                "    import streams.engine.sweeper as clock\n"
                "    at_ms = clock.time.time_ns() // 1_000_000\n",
            ),
        ),
    ),
    Mutant(
        "a release is applied twice",
        7,
        "what is given back is given back once",
        ("I1", "I2", "I4", "I9", "I12", "T21"),
        (
            Edit(
                "tables/stock.py",
                "    trail.move(verb, quantity, hold, held=rest or None)\n",
                "    trail.move(verb, quantity, hold, held=rest or None)\n"
                "    if verb is Verb.RELEASE:\n"
                "        trail.move(verb, quantity, hold, held=rest or None)\n",
            ),
        ),
    ),
    Mutant(
        "the sink writes without looking at its position",
        8,
        "of two owners of a partition one writes",
        ("I7",),
        (
            Edit(
                "streams/postgres/ledger.py",
                "        if _count(done) != len(spans):\n",
                "        if _count(done) > len(spans):\n",
            ),
        ),
    ),
    Mutant(
        "signed times are accepted within an hour",
        9,
        "a push that was overheard is worth nothing once its shop's window is over",
        ("tests/rules/test_gateway_signatures.py::test_a_window_has_two_edges",),
        (
            Edit(
                "streams/gateway/signatures.py",
                "abs(now_ms - signed_ms) <= window_ms",
                "abs(now_ms - signed_ms) <= max(window_ms, 3_600_000)",
            ),
        ),
        Tests(("tests/rules/test_gateway_signatures.py",)),
    ),
    Mutant(
        "a stale statement overwrites a newer one",
        10,
        "the newest word of a platform counts, in whatever order words come",
        ("I6", "I9"),
        (
            Edit(
                "tables/orders.py",
                "        if order.status_at is None or at > order.status_at:\n",
                "        if order.status_at is None or at != order.status_at:\n",
            ),
        ),
    ),
    Mutant(
        "a parked message is swallowed",
        11,
        "what cannot be handled waits for a person, whole",
        ("I4",),
        (
            Edit(
                "agents/frames.py",
                "said: list[Struct] = [park(record, self._inbox, self._table.name, error)]",
                "said: list[Struct] = []",
            ),
        ),
    ),
    Mutant(
        "seek to the committed offset instead of the position",
        12,
        "a keeper goes on where its changelog says, whatever the group has committed",
        (_OWN_WORD,),
        (_SEEK,),
        Tests((_OWN_WORD,), stack=True),
    ),
    Mutant(
        "seek to the committed offset, and ask for nothing again",
        12,
        "the same, where what the seek passes over is not asked for again either",
        (_NEW_GROUP, _LOST_CHANGELOG),
        (
            _SEEK,
            Edit(
                "streams/engine/rounds.py",
                "        await self.consumer.seek_to(seeks)\n        if not self._expected:\n",
                "        told = {tp: at for tp, at in seeks.items() if starts[tp] is not None}\n"
                "        await self.consumer.seek_to(told)\n        if not self._expected:\n",
            ),
            Edit(
                "streams/engine/rounds.py",
                "            if records[0].offset <= position or",
                "            if records[0].offset >= 0 or",
            ),
            Edit(
                "streams/engine/rounds.py",
                "        if stuck and self.rounds.idle:\n",
                "        if stuck and self.rounds.full:\n",
            ),
        ),
        Tests((_NEW_GROUP, _LOST_CHANGELOG), stack=True),
    ),
    Mutant(
        "records below the position are decided again",
        0,
        "what a commit has taken in is skipped when it is read again",
        ("I1", "I4", "I6", "I7", "I8", "T21"),
        (
            Edit(
                "agents/frames.py",
                "            if record.offset != self._position:\n",
                "            if record.offset > self._position:\n",
            ),
            Edit(
                "agents/frames.py",
                "            self._position += 1\n            try:\n",
                "            self._position = max(self._position, record.offset + 1)\n"
                "            try:\n",
            ),
        ),
    ),
    Mutant(
        "the position in one batch and the rows in the next",
        0,
        "rows and position are one batch, which the broker appends whole or not at all",
        ("I1", "I5", "I6", "I7", "I8"),
        (
            Edit(
                "streams/engine/keeper.py",
                "            batch = Batch(COMMIT_BYTES_MAX)\n"
                "            if not _fill(batch, slice_.changes, slice_.state.position, record):\n",
                "            first = Batch(COMMIT_BYTES_MAX)\n"
                "            _fill(first, {}, slice_.state.position, record)\n"
                "            await (await self._send_commit(p, first))\n"
                "            batch = Batch(COMMIT_BYTES_MAX)\n"
                "            if not _fill(batch, slice_.changes, slice_.state.position, record):\n",
            ),
        ),
    ),
    Mutant(
        "one path does not look at what is available",
        0,
        "nothing is held that is not there",
        ("I1", "I2", "I4"),
        (
            Edit(
                "tables/stock.py",
                "    if quantity > available:\n        return _no(command, Refusal.NOT_ENOUGH,"
                " available)\n",
                "",
            ),
        ),
    ),
    Mutant(
        "a refusal is not remembered",
        0,
        "an answer, once given, stands, also a no",
        ("I6", "I8"),
        (
            Edit(
                "tables/stock.py",
                "    changes[answers_key(sku)] = Answers((*kept, answer))\n",
                "    if refusal is None:\n"
                "        changes[answers_key(sku)] = Answers((*kept, answer))\n",
            ),
        ),
        Simulation(town=47),
    ),
    Mutant(
        "what was asked of an order nobody has heard of is forgotten",
        0,
        "the same, where there is no order yet whose row could remember it",
        ("I6",),
        (
            Edit(
                "tables/orders.py",
                "    return {key: order}, [*telling.said, _told(command, refusal, left, at_ms)]\n",
                "    changes: dict[bytes, Any] = {key: order} if row.is_heard else {}\n"
                "    return changes, [*telling.said, _told(command, refusal, left, at_ms)]\n",
            ),
        ),
        Simulation(town=2),
    ),
    Mutant(
        "letter numbers begin anew with the process",
        0,
        "the counters of letters are part of what a commit writes and recovery reads",
        ("I7",),
        (
            Edit(
                "streams/engine/store.py",
                '        self.state = state\n        return ""\n',
                "        self.state = State(state.position, state.epoch, {}, state.got)\n"
                '        return ""\n',
            ),
        ),
    ),
    Mutant(
        "money is a float",
        0,
        "amounts are whole minor units, everywhere",
        ("I10",),
        (
            Edit(
                "tables/telling.py",
                "                total_minor=order.total,\n",
                "                total_minor=order.total / 1,\n",
            ),
        ),
    ),
    Mutant(
        "the ledger does not look at the numbers of events",
        0,
        "an event that was published twice is written once",
        ("I7", "I7.postgres"),
        (
            Edit(
                "agents/ledger.py",
                "        if is_known(source, last, announced, epoch, number):\n"
                "            return True\n    heard[source]",
                "        is_known(source, last, announced, epoch, number)\n    heard[source]",
            ),
        ),
    ),
    Mutant(
        "the owner does not write over what a stopped worker wrote",
        0,
        "compaction keeps the last record of a key, so the owner's has to be the last",
        ("I1", "I5", "I6", "I7", "I8", "T21"),
        (
            Edit(
                "streams/engine/keeper.py",
                "if part and tp in self.open and (part.unread or part.foreign):",
                "if part and tp in self.open and part.unread and part.foreign is None:",
            ),
        ),
        Simulation(town=1),
    ),
    Mutant(
        "a recovery does not read again what another writer wrote",
        0,
        "a worker that was away is behind the owner of meanwhile, also before its own last record",
        ("I4", "I6", "I7", "I8"),
        (
            Edit(
                "streams/engine/store.py",
                "        if self.end is None or self.unread or self.foreign:\n",
                "        if self.end is None:\n",
            ),
        ),
    ),
    Mutant(
        "what a recovery asked is heard after its partitions have moved",
        0,
        "ends that were told for an earlier recovery say nothing of the one that reads now",
        ("I7",),
        (
            Edit(
                "streams/engine/keeper.py",
                "        if store.parts is not parts:\n            return\n        stale = 0\n",
                "        stale = 0\n",
            ),
        ),
        Simulation(town=32),
    ),
    Mutant(
        "what is written over too late is taken over",
        0,
        "a state that was written for an earlier assignment is not that of this one",
        (_TOO_LATE,),
        (
            Edit(
                "streams/engine/keeper.py",
                "            if not self._still(generation):\n                # It outlived",
                "            if generation < 0:\n                # It outlived",
            ),
        ),
        Tests((_TOO_LATE,)),
    ),
)
