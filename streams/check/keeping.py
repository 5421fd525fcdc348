"""
I5 and the changelogs: what each keeper would find if it were started now.

Of each key the record with the greatest position wins, whatever the order in the log; records of
one position are one commit and must be identical. The state of a partition must stand at the end
of its inbox, count its rows rightly, and remember exactly the letters that the topics hold.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping

from streams.check.lanes import Lanes
from streams.check.report import Claims, Place
from streams.check.wire import STATE_KEY, Record, State, Written, open_row, open_state
from streams.check.words import INBOXES, KEEPERS


class Changelog:
    """The changelog of one keeper, all its partitions."""

    def __init__(self, keeper: str, claims: Claims, unprefixed: Callable[[str], str]) -> None:
        self.keeper = keeper
        self._claims = claims
        self._unprefixed = unprefixed
        self._rows: defaultdict[int, dict[bytes, Written]] = defaultdict(dict)

    def take(self, record: Record, place: Place) -> None:
        """Take one record: the greatest position of its key wins."""
        claim, written, key = self._claims["I5"], open_row(record), record.key
        if written is None or key is None:
            claim.wrong(str(place), "a row with its position", "a record that is none of ours")
            return
        rows = self._rows[place.partition]
        known = rows.get(key)
        if known is None or written.position > known.position:
            rows[key] = written
        elif written.position < known.position:
            claim.figures["late_writes_outvoted"] += 1
        elif written.row != known.row:
            claim.wrong(
                f"{place}: key {key!r} at position {written.position}",
                "the same row as before at this position",
                "another row",
            )

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield key and MessagePack of every row there is."""
        for rows in self._rows.values():
            for key, written in rows.items():
                if key != STATE_KEY and written.row is not None:
                    yield key, written.row

    def close(self, ends: Mapping[tuple[str, int], int], lanes: Lanes) -> None:
        """Compare the states with the *ends* of the inbox, their rows and the letters' numbers."""
        inbox = INBOXES[self.keeper]
        for (topic, partition), end in ends.items():
            if topic == inbox:
                with self._claims["I5"].stumbling(f"{self.keeper} keeper, {inbox}/{partition}"):
                    self._close(partition, end, lanes)

    def _close(self, partition: int, end: int, lanes: Lanes) -> None:
        claim, rows = self._claims["I5"], self._rows[partition]
        where = f"{self.keeper} keeper, {INBOXES[self.keeper]}/{partition}"
        claim.figures["inbox_records"] += end
        written = rows.get(STATE_KEY)
        if written is None or written.row is None:
            if rows or end:
                claim.wrong(where, f"a state at position {end}", f"none beside {len(rows)} rows")
            return
        state = open_state(written.row)
        if state is None:
            claim.wrong(where, "a state record", "bytes that are none")
            return
        if not claim.same(f"{where}: position", end, state.position):
            claim.figures["waiting"] += max(0, end - state.position)
        claim.same(
            f"{where}: position in the state and before it", written.position, state.position
        )
        live = [row for key, row in rows.items() if key != STATE_KEY and row.row is not None]
        claim.same(f"{where}: rows counted by the state", len(live), state.rows)
        newest = max((row.position for row in rows.values()), default=0)
        if newest > state.position:
            claim.wrong(f"{where}: rows", f"written at {state.position} or before", newest)
        self._counters(partition, state, lanes)

    def _counters(self, partition: int, state: State, lanes: Lanes) -> None:
        claim, me = self._claims["I7"], f"{self.keeper}/p{partition}"
        inbox = INBOXES[self.keeper]
        told = lanes.announced(inbox, partition)
        claim.same(f"{me}: its epoch as announced in its inbox", told.get(me, 0), state.epoch)
        announced = {_sender(code): epoch for code, epoch in state.announced.items()}
        for sender in sorted(told.keys() | announced.keys()):
            where = f"{inbox}/{partition}: epoch of {sender} announced to the {self.keeper} keeper"
            claim.same(where, told.get(sender, 0), announced.get(sender, 0))
        sent: dict[tuple[str, int], int] = {}
        for lane, number in state.sent.items():
            topic, _, to = lane.rpartition("/")
            sent[self._unprefixed(topic), int(to)] = number
        ends = lanes.ends()
        # Counted anew in each epoch: a lane whose letters are all older has none of this one.
        found = {
            lane[:2]: last
            for lane, (epoch, last) in ends.items()
            if lane[2] == me and epoch == state.epoch
        }
        for lane_ in sorted(sent.keys() | found.keys()):
            where = f"{me} on {lane_[0]}/{lane_[1]}: letters sent as its state counts them"
            claim.same(where, found.get(lane_, 0), sent.get(lane_, 0))
        got = {_sender(code): last for code, last in state.got.items()}
        heard = {
            sender: last
            for (topic, number, sender), last in ends.items()
            if (topic, number) == (inbox, partition)
        }
        for sender in sorted(got.keys() | heard.keys()):
            where = f"{inbox}/{partition}: letters of {sender} as the {self.keeper} keeper counts"
            (epoch, last), (known, counted) = heard.get(sender, (0, 0)), got.get(sender, (0, 0))
            claim.same(where, last, counted)
            claim.same(f"{where}, their epoch", epoch, known)


def _sender(code: int) -> str:
    return f"{KEEPERS.get(code >> 16, code >> 16)}/p{code & 0xFFFF}"


def whole(claims: Claims, begins: Mapping[tuple[str, int], int], topics: Iterable[str]) -> None:
    """Say where a log that must be folded from zero does not begin there any more."""
    claim, foldable = claims["I0"], frozenset(topics)
    for (topic, partition), begin in begins.items():
        if begin and topic in foldable:
            claim.figures["records_gone"] += begin
            claim.wrong(f"{topic}/{partition}", "records from 0 on", f"the first is {begin}")
    claim.figures["partitions"] += len(begins)
