"""
What is personal or secret, hidden: the one place that knows how it looks.

Promise: in what leaves here a phone number, an e-mail address, a number of an identity card, a
name, an address or a secret has been replaced by stars, as far as a name of a field or the form of
a value gives it away: in JSON however deep (also JSON within a text of JSON), in the text of an
error that quotes a message or a value of ours, in the query of an address. A payload that is no
JSON has no names to go by: of it every value in quotes is hidden, and what is no notation like
JSON's is not shown at all. A name that stands alone in prose cannot be known by anybody.
"""

import re
from typing import Any

import orjson

#: A field of one of these names is hidden whole, whatever it holds.
SECRET_NAMES = re.compile(
    r"passw|secret|token|authoriz|api_?key|app_?key|dsn|receiver|buyer|address|(^|_)(phone|email|mobile|tel)",
    re.IGNORECASE,
)
#: In a platform's message these are personal too; in a log line they are the house's own words.
_PERSONAL_NAMES = re.compile(
    r"(first|last|full|contact|consignee|recipient|customer|user|member|nick|real|card)_?-?(name|nick)"
    r"|nick|consignee|recipient|customer|invoice_?title|tax_?(no|number|payer)|id_?card|zip|postal"
    r"|^name$|phone|mobile|email|street|house_?(no|number)|detail_?addr|addr(ess)?\d?$|note|remark"
    r"|memo|comment|(buyer|seller|leave|gift)_?message|latitude|longitude",
    re.IGNORECASE,
)
HIDDEN = "***"
#: What is secret wherever it is said; the other names of SECRET_NAMES are words of sentences, too.
_SECRETS = re.compile(r"passw|secret|token|authoriz|api_?key|app_?key", re.IGNORECASE)
_BUG = "bug"

#: In the query of an address these are secrets too: robots' keys, signatures.
_QUERY_SECRETS = re.compile(r"^(key|sign|signature|sig|code|hmac)$", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]+@")
#: Bounded as mail is, so that a megabyte without a blank is looked through once.
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
#: A mobile number of mainland China, or an international one with its plus sign, standing alone:
#: order ids are longer runs of digits and stay readable.
_PHONE = re.compile(
    r"(?<![\d.])(?:\+\d[\d -]{6,16}\d|(?:86)?1[3-9]\d{9}|1[3-9]\d([ -])\d{4}\1\d{4})(?!\d)"
)
#: An identity card of mainland China: place, day of birth, number, check digit.
_IDENTITY = re.compile(
    r"(?<!\d)[1-9]\d{5}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\d)"
)
_WEIGHTS, _CHECKS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), "10X98765432"
#: A name and its text in quotes, as JSON, Python and our own Structs write it; and the same where
#: it stands in a text itself, its quotes escaped.
_NAMED = re.compile(
    r"""\b([\w-]{1,64})(["']?\s{0,3}[:=]\s{0,3})("(?:[^"\\]|\\.)*(?:"|$)|'(?:[^'\\]|\\.)*(?:'|$))""",
    re.DOTALL,
)
_NAMED_INSIDE = re.compile(
    r"""\b([\w-]{1,64})(\\+["']\s{0,3}:\s{0,3})(\\+["'].*?(?:\\+["']|$))""", re.DOTALL
)
_QUERY = re.compile(r"(?<=[?&])([\w.-]{1,64})(=)([^&\s\"'<>]+)")
#: A secret said in words: `token=…`, `Authorization: Bearer …`.
_SAID = re.compile(
    r"(?<![\w?&])([\w-]{1,64})(\s?[=:]\s?)((?:bearer |basic )?[^\s\"',;&]+)", re.IGNORECASE
)
_BEARER = re.compile(r"\b(bearer|basic) [\w.~+/=-]{8,}", re.IGNORECASE)
#: In the house's own sentences a value is quoted as Python does.
_IN_QUOTES = re.compile(r"""'(?:[^'\\]|\\.)*(?:'|$)|"(?:[^"\\]|\\.)*(?:"|$)""", re.DOTALL)
#: A text in quotes and, where it is a name, its colon; the last one may have lost its end.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*(?:"(\s*:)?|$)', re.DOTALL)
#: What is no JSON is shown up to here.
_OPENING_BYTES = 2_000


def masked(text: str) -> str:
    """
    Return *text* without phone numbers, e-mail addresses, identity cards and secrets, and without
    what a name beside it calls personal.
    """
    text = _CREDENTIALS.sub(rf"\1:{HIDDEN}@", text)
    if "=" in text or ":" in text:
        text = _without_named(text)
    if " " in text:
        text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    text = _EMAIL.sub(HIDDEN, text)
    text = _IDENTITY.sub(lambda met: HIDDEN if _is_identity(met[0]) else met[0], text)
    return _PHONE.sub(lambda met: HIDDEN + met[0][-2:], text)


def reason(text: str, field: str, cause: str) -> str:
    """
    Return why a message was parked, without what it quotes.

    *field* is the one at fault. What a sentence quotes of a personal field is personal; what an
    error that nobody foresaw (*cause* `bug`) quotes may be anything.
    """
    at_fault = re.split(r"[.\[\]]+", field)
    if any(map(_is_personal, at_fault)):
        # Not all that is said of a value stands in quotes.
        return f"{field}: {HIDDEN}"
    return masked(_IN_QUOTES.sub(f"'{HIDDEN}'", text) if cause == _BUG else text)


def _without_named(text: str) -> str:
    text = _NAMED.sub(_named, text)
    if "\\" in text:
        text = _NAMED_INSIDE.sub(_named, text)
    text = _QUERY.sub(_queried, text)
    return _SAID.sub(_secret, text)


def _named(met: re.Match[str]) -> str:
    if not _is_personal(met[1]):
        # A quoted text may be JSON itself.
        return met[1] + met[2] + (_without_named(met[3]) if len(met[3]) > 2 else met[3])
    quote = met[3][: len(met[3]) - len(met[3].lstrip("\\"))] + met[3].lstrip("\\")[:1]
    return f"{met[1]}{met[2]}{quote}{HIDDEN}{quote}"


def _queried(met: re.Match[str]) -> str:
    hidden = _is_personal(met[1]) or _QUERY_SECRETS.search(met[1])
    return f"{met[1]}={HIDDEN}" if hidden else met[0]


def _secret(met: re.Match[str]) -> str:
    return f"{met[1]}{met[2]}{HIDDEN}" if _SECRETS.search(met[1]) else met[0]


def _is_identity(number: str) -> bool:
    total = sum(int(digit) * weight for digit, weight in zip(number, _WEIGHTS, strict=False))
    return _CHECKS[total % 11] == number[-1].upper()


def shown(payload: bytes) -> Any:
    """Return *payload* to look at: JSON with personal fields hidden, else what can be shown."""
    try:
        return _hidden(orjson.loads(payload))
    except orjson.JSONDecodeError:
        return _opening(payload)


def _opening(payload: bytes) -> str:
    text = payload[:_OPENING_BYTES].decode("utf-8", "replace")
    if text.lstrip()[:1] not in ("{", "["):
        return f"<{len(payload)} bytes that are no JSON>"
    return masked(_QUOTED.sub(lambda met: met[0] if met[1] else f'"{HIDDEN}"', text))


def _hidden(value: Any) -> Any:
    match value:
        case dict():
            return {
                key: HIDDEN if inner and _is_personal(key) else _hidden(inner)
                for key, inner in value.items()
            }
        case list():
            return [_hidden(inner) for inner in value]
        case str():
            return _text(value)
        case _:
            return value


def _text(value: str) -> str:
    """Some platforms write JSON into a text of JSON."""
    if value.lstrip()[:1] in ("{", "["):
        try:
            return orjson.dumps(_hidden(orjson.loads(value))).decode()
        except orjson.JSONDecodeError:
            return masked(value)
    return masked(value)


def _is_personal(name: str) -> bool:
    return bool(SECRET_NAMES.search(name) or _PERSONAL_NAMES.search(name))
