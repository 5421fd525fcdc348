"""
What every message is made of: keys, quantities, moments, and where a thing came from.

Internal messages travel as MessagePack arrays, so a field's place is part of the
contract: a new field goes last and has a default, a name is never used again.
"""

from enum import StrEnum
from typing import Annotated
from unicodedata import category, name, normalize

from msgspec import Meta, Struct

#: The greatest quantity of one SKU in one message. Beyond it a number is a mistake, not a sale.
QUANTITY_MAX = 1_000_000_000
#: The greatest number of lines of one order (cases.md section 4).
LINES_MAX = 500
#: The greatest length of an id or key, in characters.
ID_LENGTH_MAX = 200
#: The greatest amount of money in minor units that is believed: beyond any order, below 2^63.
MINOR_MAX = 10**15

Quantity = Annotated[int, Meta(gt=0, le=QUANTITY_MAX)]
Units = Annotated[int, Meta(ge=0)]
Minor = Annotated[int, Meta(ge=-MINOR_MAX, le=MINOR_MAX)]
Sku = Annotated[str, Meta(min_length=1, max_length=ID_LENGTH_MAX)]
#: `platform:shop:order`, the key of an order everywhere.
OrderKey = Annotated[str, Meta(min_length=5, max_length=3 * ID_LENGTH_MAX)]


def order_key(platform: str, shop: str, order_id: str) -> str:
    """Return the key under which one order lives, on every topic and in every table."""
    return f"{platform}:{shop}:{order_id}"


#: Alphabets some letters of which look like Latin ones.
_LOOK_LATIN = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")
#: Letters of those alphabets that nobody tells from Latin ones.
_TWINS = frozenset("АВЕЅІЈКМНОРСТУХаеѕіјорсухԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧοκνϲ")


def is_misspelt(sku: str) -> bool:
    """
    Say whether a SKU's name can be mistaken for another's by eye: no new one may be called so.

    Invisible or control characters, spaces around it, wide or composed forms of other letters,
    Latin letters among those of an alphabet that looks like it, or a word of nothing but twins.
    """
    if sku != normalize("NFKC", sku).strip() or any(category(each)[0] == "C" for each in sku):
        return True
    letters = [each for each in sku if each.isalpha() and not each.isascii()]
    foreign = [each for each in letters if name(each, "").startswith(_LOOK_LATIN)]
    if not foreign:
        return False
    latin = any(each.isascii() and each.isalpha() for each in sku)
    return latin or all(each in _TWINS for each in foreign)


class Word(StrEnum):
    """A closed set of words. Hashes as its text does: Enum's own hash is Python code."""

    __hash__ = str.__hash__


class Moment(Struct, frozen=True, array_like=True, gc=False):
    """An instant as a platform said it: what it means, and the words it was said in."""

    #: Milliseconds since 1970-01-01T00:00:00Z.
    ms: int
    #: The source's own text (a number stays its digits).
    said: str = ""
    #: Offset or zone the text was read in: `Asia/Shanghai`, `-05:00`, `UTC`.
    zone: str = "UTC"


class Source(Struct, frozen=True, array_like=True, gc=False):
    """Where a statement comes from: the raw record, who read it, and a digest of its bytes."""

    topic: str
    partition: int
    offset: int
    #: Adapter and its version: `taobao/1`.
    adapter: str
    #: First 16 hex digits of the SHA-256 of the payload.
    digest: str
    #: When the raw record was received, ms: the start of the order's way through the house.
    received_ms: int = 0

    @property
    def cause(self) -> str:
        """The raw record as one word, the start of every chain of causes."""
        return f"{self.topic}/{self.partition}/{self.offset}"
