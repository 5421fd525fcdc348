"""
The sender's own list of what the broker acknowledged, against the raw topics.

One JSON object a line, as `orderflow feed --log` writes it: `topic` (or `platform`), `partition`,
`offset`, and where it has them `kind` and `digest` (hex SHA-256 of the payload, or its beginning).
A line with `"acked": false` promises nothing. A last line that was cut off in mid-write neither.

A push by HTTP has no place: its line says `answer` (a 2xx, which promises a record), `digest`, and
`vain`, how often it was sent without one. A try in vain may have left a record, and no more than
one: whoever has no answer cannot know.
"""

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import DecodeError, json

from schemas.errors import Misconfigured
from streams.check.report import Claims, Place
from streams.check.wire import Record


class Sent(NamedTuple):
    """One acknowledged message."""

    kind: str
    digest: str


class FeedLog:
    """What was sent and has not been found yet."""

    def __init__(self, claims: Claims) -> None:
        self._claim = claims["feed"]
        self._waiting: dict[tuple[str, int, int], Sent] = {}
        #: (topic, digest) -> records that were promised, records that tries in vain may have left,
        #: and records that stand there.
        self._promised: Counter[tuple[str, str]] = Counter()
        self._perhaps: Counter[tuple[str, str]] = Counter()
        self._there: Counter[tuple[str, str]] = Counter()
        self._digits = 0

    def add(self, line: dict[str, Any], topic: str) -> None:
        """Take one line of the log, sent to *topic*."""
        figures = self._claim.figures
        if "answer" in line:
            self._push(line, topic)
            return
        if line.get("acked") is False or line.get("offset") is None:
            figures["not_acknowledged"] += 1
            return
        kind = str(line.get("kind") or line.get("step") or "message")
        place = (topic, line["partition"], line["offset"])
        figures["acknowledged"] += 1
        figures[kind] += 1
        if place in self._waiting:
            self._claim.wrong(str(Place(*place)), "one message at one place", "two in the log")
        self._waiting[place] = Sent(kind, str(line.get("digest") or line.get("sha256") or ""))

    def _push(self, line: dict[str, Any], topic: str) -> None:
        what = (topic, str(line["digest"]))
        self._digits = len(what[1])
        self._promised[what] += 1
        self._perhaps[what] += int(line["vain"])
        self._claim.figures["answered_2xx"] += 1
        self._claim.figures["answered_otherwise"] += int(line["vain"])

    def raw(self, record: Record, place: Place) -> None:
        """Strike one raw message off the list."""
        sent = self._waiting.pop((place.topic, place.partition, place.offset), None)
        if sent is None:
            if self._promised:
                found = sha256(record.value or b"").hexdigest()[: self._digits]
                self._there[place.topic, found] += 1
            return
        self._claim.figures["found"] += 1
        if sent.digest:
            digest = sha256(record.value or b"").hexdigest()
            self._claim.same(f"{place}: digest", sent.digest, digest[: len(sent.digest)])

    def close(self) -> None:
        """Say what was acknowledged and is not there."""
        for (topic, partition, offset), sent in self._waiting.items():
            where = str(Place(topic, partition, offset))
            self._claim.wrong(where, f"the {sent.kind} that was acknowledged", "no such record")
        for (topic, digest), count in self._promised.items():
            there, where = self._there[topic, digest], f"{topic}: pushes with digest {digest}"
            if there < count:
                self._claim.wrong(where, f"{count} records, each answered with 2xx", there)
            elif there > count + self._perhaps[topic, digest]:
                most = count + self._perhaps[topic, digest]
                self._claim.wrong(where, f"at most {most} records, one a try", there)
            self._claim.figures["pushed_again"] += max(0, there - count)


def read(path: Path, claims: Claims, unprefixed: Callable[[str], str]) -> FeedLog:
    """Return the list that *path* holds. Raises Misconfigured naming file and line."""
    log = FeedLog(claims)
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise Misconfigured(f"The feed log {path} cannot be read: {error.strerror}.") from error
    for number, raw in enumerate(lines, start=1):
        if not raw.endswith(b"\n") or not raw.strip():
            continue
        try:
            line = json.decode(raw, type=dict[str, Any])
            topic = line.get("topic") or f"raw-orders-{line['platform']}"
            log.add(line, unprefixed(topic))
        except (DecodeError, KeyError, ValueError) as error:
            raise Misconfigured(f"{path}, line {number}: not a line of a feed log.") from error
    return log
