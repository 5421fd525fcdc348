"""
Phone numbers: E.164 where a number came in clear, and nothing where it did not.

Platforms send `138****25`, `*******5552`, `$$cipher$1$$`, "" or nothing. None of these is a number,
and a mask must never be taken for one. A relay number with an extension has no E.164 either: the
base is shared by many buyers.
"""

import re
from functools import lru_cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, ValidationResult

_CHINESE_MOBILE = re.compile(r"1[3-9][0-9]{9}")
_IN_CLEAR = re.compile(r"\+?[0-9(][0-9() \-./]{4,30}")
#: An order says its number up to three times and again with each of its statements.
_KNOWN_MAX = 4_096


def e164(said: str | None, region: str | None) -> str | None:
    """Return *said* in E.164; None where it is absent, masked, encrypted or no number at all."""
    # Most that are not in clear are masked; looking for the mask costs a tenth of the pattern.
    if said is None or "*" in said or not _IN_CLEAR.fullmatch(said):
        return None
    # The metadata library takes 50 µs a number; most numbers here have this one shape.
    if region == "CN" and _CHINESE_MOBILE.fullmatch(said):
        return "+86" + said
    return _looked_up(said, region)


@lru_cache(_KNOWN_MAX)
def _looked_up(said: str, region: str | None) -> str | None:
    try:
        number = phonenumbers.parse(said, region)
    except NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)
