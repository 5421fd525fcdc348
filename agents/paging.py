"""
Which notices go out next on a channel, in one message, and when. Pure: moments are arguments.

The rule. A channel is sent a message at most every so many ms, so that no minute ever has more than
its robot allows, wherever that minute begins. What comes up meanwhile waits and goes into the next
message together, criticals first, then the oldest: one line each where many wait. Nothing is left
out: what does not fit one message is in the one after it.

Promise: no message is longer than its channel takes, counted in bytes of UTF-8 and cut between
characters; a failure never drops a notice, it only puts off the next message.
"""

from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from schemas.alerts import SEVERITIES, Notice, Said, Severity
from schemas.base import Word


class Kind(Word):
    """What a channel is."""

    #: Group robots of WeCom (企业微信), DingTalk (钉钉) and Lark (飞书).
    WECOM = "wecom"
    DINGTALK = "dingtalk"
    LARK = "lark"
    #: JSON by POST, signed as Standard Webhooks are.
    WEBHOOK = "webhook"
    #: Our own log.
    LOG = "log"


class Limits(NamedTuple):
    """What a kind of channel takes."""

    #: The least time between two messages.
    every_ms: int
    #: The longest text.
    bytes_max: int


def _a_minute(count: int) -> int:
    """Return the least time between messages of which *count* may go in any minute."""
    return -(-60_000 // count)


LIMITS: Final = MappingProxyType(
    {
        # 20 a minute a robot; two are left for others who use the same one. 4,096 bytes.
        Kind.WECOM: Limits(_a_minute(18), 4_096),
        # 20 a minute, and ten minutes of silence for whoever sends more; 20,000 bytes.
        Kind.DINGTALK: Limits(_a_minute(18), 18_000),
        # 100 a minute and 5 a second; a body of 20 KB, in which a text can double when quoted.
        Kind.LARK: Limits(_a_minute(90), 9_000),
        # Ours to say: a receiver is not flooded, and the JSON of so much text stays below 20 kB.
        Kind.WEBHOOK: Limits(_a_minute(60), 4_500),
        Kind.LOG: Limits(_a_minute(300), 8_000),
    }
)
#: A line is never longer, so that a message always has room for one.
LINE_BYTES_MAX: Final = 400
#: With more notices than this a message has one line each.
AT_LENGTH_MAX: Final = 3
#: What the platforms punish: a robot that was throttled is left alone for so long.
THROTTLED_MS: Final = 60_000
#: The wait after a failure doubles up to this; a refusal needs a person, so it is longer.
_AGAIN_MS, _AGAIN_MS_MAX, _REFUSED_MS_MAX = 3_000, 60_000, 300_000
#: Marks that a chat would take for its own; nobody writes into a message by naming a SKU.
_PLAIN: Final = str.maketrans("[]<>`*\\", "()‹›'∗/", "")


class Outcome(Word):
    """What became of a message."""

    TAKEN = "taken"
    #: Too many: WeCom's errcode 45009, DingTalk's 130101, Lark's 11232, HTTP 429.
    THROTTLED = "throttled"
    #: No answer, or a 5xx.
    AWAY = "away"
    #: The channel says no, and will again: a wrong key, a wrong address.
    REFUSED = "refused"


class Pace(NamedTuple):
    """Where a channel stands."""

    #: The next message may go at this moment.
    next_ms: int = 0
    #: Failures in a row, and since when.
    failures: int = 0
    failing_since_ms: int | None = None


def after(pace: Pace, limits: Limits, outcome: Outcome, at_ms: int, asked_ms: int = 0) -> Pace:
    """Return the pace after a message of *at_ms* met *outcome* and was asked to wait *asked_ms*."""
    if outcome is Outcome.TAKEN:
        return Pace(at_ms + limits.every_ms)
    wait_ms = max(limits.every_ms, asked_ms)
    if outcome is Outcome.THROTTLED:
        wait_ms = max(wait_ms, THROTTLED_MS)
    else:
        longest = _REFUSED_MS_MAX if outcome is Outcome.REFUSED else _AGAIN_MS_MAX
        wait_ms = max(wait_ms, min(longest, _AGAIN_MS << min(pace.failures, 10)))
    since = at_ms if pace.failing_since_ms is None else pace.failing_since_ms
    return Pace(at_ms + wait_ms, pace.failures + 1, since)


class Message(NamedTuple):
    """One message: its text in plain Markdown, and what is told by it."""

    text: str
    notices: tuple[Notice, ...]


def in_order(waiting: Iterable[Notice]) -> list[Notice]:
    """Return *waiting* as they have to be told: criticals first, then the oldest."""
    return sorted(waiting, key=lambda each: (_RANK[each.severity], each.at_ms, each.id))


_RANK: Final = {severity: rank for rank, severity in enumerate(SEVERITIES)}


def message(waiting: Sequence[Notice], limits: Limits) -> Message:
    """Return the next message for *waiting*, of which there is at least one; the rest waits on."""
    ordered = in_order(waiting)
    if len(ordered) <= AT_LENGTH_MAX:
        text = "\n\n".join(_at_length(each) for each in ordered)
        if len(text.encode()) <= limits.bytes_max:
            return Message(text, tuple(ordered))
    return _digest(ordered, limits.bytes_max)


def _digest(ordered: Sequence[Notice], bytes_max: int) -> Message:
    lines = [_line(each) for each in ordered]
    # Head and end are counted at their longest, so that what is taken never has to be taken back.
    room = bytes_max - len((_head(ordered) + "\n" + _rest(len(ordered))).encode())
    taken = 0
    for line in lines:
        room -= len(line.encode()) + 1
        if room < 0:
            break
        taken += 1
    taken = max(taken, 1)
    told = ordered[:taken]
    parts = [_head(told), *lines[:taken]]
    if taken < len(ordered):
        parts.append(_rest(len(ordered) - taken))
    return Message(cut("\n".join(parts), bytes_max), tuple(told))


def _head(told: Sequence[Notice]) -> str:
    criticals = sum(each.severity is Severity.CRITICAL for each in told)
    return f"**orderflow: {len(told)} notices, {criticals} critical**"


def _rest(count: int) -> str:
    return f"… {count} more follow"


def _line(notice: Notice) -> str:
    return cut(f"{_word(notice)} {plain(notice.line)} {mark(notice)}", LINE_BYTES_MAX)


def _at_length(notice: Notice) -> str:
    head = f"**{_word(notice)} {plain(notice.title)}** {mark(notice)}"
    return "\n".join([head, *(plain(line) for line in notice.body.splitlines())])


def _word(notice: Notice) -> str:
    if notice.said is Said.RESOLVED:
        return "RESOLVED"
    return "TEST" if notice.said is Said.TEST else notice.severity.upper()


def mark(notice: Notice) -> str:
    """Return the few letters by which a person knows a repeat, and the alert in the list."""
    alert = notice.id.split("/", 1)[0]
    return f"#{alert[-6:]}"


def plain(text: str) -> str:
    """Return *text* as one line that a chat shows as it stands."""
    return "".join(" " if ord(each) < 32 or ord(each) == 127 else each for each in text).translate(
        _PLAIN
    )


def cut(text: str, bytes_max: int) -> str:
    """Return *text* in at most *bytes_max* bytes of UTF-8, cut between characters."""
    whole = text.encode("utf-8", "replace")
    if len(whole) <= bytes_max:
        return whole.decode()
    return whole[: bytes_max - 3].decode("utf-8", "ignore") + "…"
