"""
How a message reaches people: group robots of WeCom, DingTalk and Lark, a webhook, our own log.

Promises. An answer is believed only where the channel itself says that it took the message: a robot
answers 200 to what it refuses, and says so in `errcode`. Nothing follows a redirect or a proxy of
the environment, because the address is a secret; it is in no error and no log line.
"""

import hmac
import logging
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType, TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlencode

import aiohttp
import orjson
from yarl import URL

from agents.paging import LIMITS, LINE_BYTES_MAX, Kind, Limits, Message, Outcome, cut
from schemas.alerts import Notice, Severity
from streams.clients.pacing import retry_after
from streams.clock import now_ms
from streams.web import signing

logger = logging.getLogger("orderflow.alerts")

#: One message, from connecting to the last byte of its answer; robots answer within a second.
WITHIN_S = 8.0
_ANSWER_BYTES_MAX = 64 * 1024
#: What robots say when there was too much of it, and when they are busy themselves.
_TOO_MANY: Final = frozenset({45009, 130101, 11232, 9499})
_BUSY: Final = frozenset({-1})
_LEVELS: Final = MappingProxyType(
    {
        Severity.CRITICAL: logging.CRITICAL,
        Severity.WARNING: logging.WARNING,
        Severity.INFO: logging.INFO,
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """One channel, as the alerts file names it."""

    name: str
    kind: Kind
    #: Both are secrets; the log has neither.
    url: str = field(default="", repr=False)
    secret: str = field(default="", repr=False)

    @property
    def limits(self) -> Limits:
        """Return what it takes."""
        return LIMITS[self.kind]


class Verdict(NamedTuple):
    """What became of a message, why, and how long the channel wants us to wait."""

    outcome: Outcome
    why: str = ""
    wait_ms: int = 0


class Request(NamedTuple):
    """What is posted."""

    url: str
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


class Sender:
    """Sends messages: `async with Sender() as sender`."""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=WITHIN_S),
            headers={"User-Agent": "orderflow", "Content-Type": "application/json"},
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def send(self, channel: Channel, message: Message) -> Verdict:
        """Send *message*, and return what the channel said."""
        if channel.kind is Kind.LOG:
            worst = min(message.notices, key=lambda each: -_LEVELS[each.severity])
            logger.log(_LEVELS[worst.severity], "%s", message.text)
            return Verdict(Outcome.TAKEN)
        request = REQUESTS[channel.kind](channel, message, now_ms())
        try:
            async with self._session.post(
                URL(request.url, encoded=True), data=request.body, headers=request.headers,
                allow_redirects=False,
            ) as response:  # fmt: skip
                body = await response.content.read(_ANSWER_BYTES_MAX)
                wait_s = retry_after(response.headers.get("retry-after")) or 0.0
                return judged(channel.kind, response.status, body, wait_s)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # Its words may repeat the address.
            return Verdict(Outcome.AWAY, type(error).__name__)


def judged(kind: Kind, status: int, body: bytes, wait_s: float = 0.0) -> Verdict:
    """Return what an answer means."""
    wait_ms = round(wait_s * 1000)
    if status == 429:
        return Verdict(Outcome.THROTTLED, "HTTP 429", wait_ms)
    if status >= 500:
        return Verdict(Outcome.AWAY, f"HTTP {status}", wait_ms)
    if not 200 <= status < 300:
        return Verdict(Outcome.REFUSED, f"HTTP {status}")
    if kind is Kind.WEBHOOK:
        return Verdict(Outcome.TAKEN)
    code = _code(body)
    if code == 0:
        return Verdict(Outcome.TAKEN)
    why = "an answer without a code" if code is None else f"code {code}"
    if code is None or code in _BUSY:
        return Verdict(Outcome.AWAY, why)
    return Verdict(Outcome.THROTTLED if code in _TOO_MANY else Outcome.REFUSED, why)


def _code(body: bytes) -> int | None:
    """Return the code of a robot's answer: `errcode`, of Lark `code` or, older, `StatusCode`."""
    try:
        said = orjson.loads(body)
    except ValueError:
        return None
    if not isinstance(said, dict):
        return None
    found = [said[name] for name in ("errcode", "code", "StatusCode") if name in said]
    return found[0] if found and isinstance(found[0], int) else None


# --- what is posted -------------------------------------------------------------------------------


def _wecom(channel: Channel, message: Message, _: int) -> Request:
    said = {"msgtype": "markdown", "markdown": {"content": message.text}}
    return Request(channel.url, orjson.dumps(said))


def _dingtalk(channel: Channel, message: Message, at_ms: int) -> Request:
    # A single line break is none to DingTalk.
    text = message.text.replace("\n", "\n\n")
    said = {"msgtype": "markdown", "markdown": {"title": "orderflow", "text": text}}
    url = channel.url
    if channel.secret:
        key = channel.secret.encode()
        sign = hmac.digest(key, f"{at_ms}\n{channel.secret}".encode(), "sha256")
        signed = urlencode({"timestamp": at_ms, "sign": b64encode(sign).decode()})
        url = f"{url}{'&' if '?' in url else '?'}{signed}"
    return Request(url, orjson.dumps(said))


def _lark(channel: Channel, message: Message, at_ms: int) -> Request:
    said: dict[str, Any] = {
        "msg_type": "text",
        "content": {"text": message.text.replace("**", "")},
    }
    if channel.secret:
        at_s = str(at_ms // 1000)
        sign = hmac.digest(f"{at_s}\n{channel.secret}".encode(), b"", "sha256")
        said |= {"timestamp": at_s, "sign": b64encode(sign).decode()}
    return Request(channel.url, orjson.dumps(said))


def _webhook(channel: Channel, message: Message, at_ms: int) -> Request:
    body = orjson.dumps({"type": "orderflow.alerts", "notices": [*map(_facts, message.notices)]})
    # The same notices have the same id, whenever they are sent.
    id_ = sha256("\n".join(each.id for each in message.notices).encode()).hexdigest()[:32]
    keys = [channel.secret] if channel.secret else []
    return Request(channel.url, body, signing.headers(keys, id_, at_ms // 1000, body))


def _facts(notice: Notice) -> dict[str, Any]:
    return {
        "id": notice.id,
        "alert": notice.id.split("/", 1)[0],
        "said": str(notice.said),
        "severity": str(notice.severity),
        "at_ms": notice.at_ms,
        "title": cut(notice.title, LINE_BYTES_MAX),
        "line": cut(notice.line, LINE_BYTES_MAX),
    }


REQUESTS: Final[Mapping[Kind, Callable[[Channel, Message, int], Request]]] = MappingProxyType(
    {Kind.WECOM: _wecom, Kind.DINGTALK: _dingtalk, Kind.LARK: _lark, Kind.WEBHOOK: _webhook}
)
