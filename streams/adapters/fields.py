"""
Fields: what an adapter reads of an object, as one table that is read in two ways.

An adapter names an object's fields as a class, and says of each what it is:

    class _Line(Fields):
        oid: NumberId
        title: Text
        price: Money

`Reader(_Line)` returns such an object of a decoded one. Nearly every payload is *plain*: each field
is of the type its platform writes it in. Then msgspec checks all of them at once, and one function,
made of this table, takes them over; that costs a third of reading them one by one. Whatever is not
plain is read as before: the same fields, by the strict readers, each when it is asked for, so that
what is refused is named, and what nobody asks for is not looked at.

Two promises hold the two together. A field is plain only where its strict reader would take it, and
then its value is the strict reader's. And the rules that an adapter makes of the fields do not know
how they were read. So a payload means the same either way, and this table cannot disagree with
itself; a test compares the two.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from typing import Annotated, Any, Final, Generic, TypeVar, cast, get_args, get_type_hints

from msgspec import Meta, Struct, ValidationError, convert, defstruct

from schemas.base import ID_LENGTH_MAX, LINES_MAX, MINOR_MAX, QUANTITY_MAX, Moment
from schemas.errors import MalformedPayload
from streams.adapters.reading import (
    DIGITS_MAX,
    TEXT_LENGTH_MAX,
    WORD_LENGTH_MAX,
    Json,
    as_object,
    beijing,
    code,
    fen,
    members,
    money,
    number_id,
    offset,
    quantity,
    text,
    texts,
    units,
    unix_seconds,
    within,
    word,
)

#: So many values of a kind are remembered with their reading, and paths of lists.
_KNOWN_MAX: Final = 4_096
_PATHS_MAX: Final = 64


class Fields(Struct, gc=False):
    """The fields of one object, read."""

    #: The path of the object with its final dot.
    at: str


T = TypeVar("T", bound=Fields)
#: Reads one field strictly: of this object, this key, at this path.
Strict = Callable[[Json, str, str], Any]
#: Returns the decimals of the amounts in the object at this path.
Digits = Callable[[Json, str], int]


@dataclass(frozen=True)
class Kind:
    """What a field may be."""

    #: How it is written where it is plain.
    written: Any
    #: What becomes of it then, an expression over `{v}`.
    plain: str
    strict: Strict
    #: Where it stands: the first of these keys that says something; empty: the attribute's name.
    keys: tuple[str, ...] = ()
    #: An id: one of the keys has to say it.
    needed: bool = False

    def under(self, *keys: str) -> "Kind":
        """Return the same, under other keys than the attribute's name."""
        return replace(self, keys=keys)

    def needed_under(self, *keys: str) -> "Kind":
        """Return the same, under other keys, one of which has to say it."""
        return replace(self, keys=keys, needed=True)

    def of(self, name: str) -> tuple[str, ...]:
        """Return the keys of the attribute *name*."""
        return self.keys or (name,)


@dataclass(frozen=True)
class Inside:
    """An object within the object; one that is absent or null says nothing."""


@dataclass(frozen=True)
class Each:
    """A list of objects."""

    key: str
    #: Returns them strictly, each with its path; what is no object is refused at its turn.
    strict: Callable[[Json, str], list[tuple[str, Any]]]
    #: TOP nests its lists twice.
    inner: str = ""
    #: A plain list has so many members, and no more than an order has lines.
    least: int = 1
    #: It has to be there; otherwise one that is absent or null is empty.
    needed: bool = True


_Natural = Annotated[int, Meta(ge=0)]

TEXT: Final = Kind(
    Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)] | None, "({v} and {v}.strip()) or None", text
)
WORD: Final = Kind(
    Annotated[str, Meta(max_length=WORD_LENGTH_MAX)] | int | None,
    "None if {v} is None else words[{v}]",
    word,
)
CODE: Final = Kind(
    Annotated[str, Meta(max_length=ID_LENGTH_MAX)] | int | None,
    "None if not {v} or (said := {v}.strip() if {v}.__class__ is str else str({v})) in no_code"
    " else said",
    code,
)
NUMBER_ID: Final = Kind(
    _Natural | Annotated[str, Meta(max_length=DIGITS_MAX)] | None,
    "None if not {v} else str({v}) if {v}.__class__ is int else"
    # Digits without a zero before them: what nearly every id is. All others are looked at.
    " {v} if {v} >= '1' and {v}.isdecimal() and {v}.isascii() else number_id({v})",
    number_id,
)
QUANTITY: Final = Kind(Annotated[int, Meta(gt=0, le=QUANTITY_MAX)], "{v}", quantity)
UNITS: Final = Kind(Annotated[int, Meta(ge=0, le=QUANTITY_MAX)] | None, "{v}", units)
FEN: Final = Kind(Annotated[int, Meta(ge=0, le=MINOR_MAX)] | None, "{v}", fen)
MONEY: Final = Kind(str | None, "None if not {v} else amounts[{v}]", money)
BEIJING_TIME: Final = Kind(str | None, "None if not {v} else beijing[{v}]", beijing)
OFFSET_TIME: Final = Kind(str | None, "None if not {v} else offset[{v}]", offset)
UNIX_SECONDS: Final = Kind(_Natural | None, "None if not {v} else seconds[{v}]", unix_seconds)
TEXTS: Final = Kind(
    list[Annotated[str, Meta(max_length=TEXT_LENGTH_MAX)]] | None,
    "[said for each in {v} or () if (said := each.strip())]",
    texts,
)
MEMBERS: Final = Kind(list[Any] | None, "{v} or []", members)
ANYTHING: Final = Kind(Any, "{v}", lambda source, key, _at: source.get(key))

Text = Annotated[str | None, TEXT]
Word = Annotated[str | None, WORD]
Code = Annotated[str | None, CODE]
NumberId = Annotated[str | None, NUMBER_ID]
TheNumberId = Annotated[str, replace(NUMBER_ID, needed=True)]
Quantity = Annotated[int, QUANTITY]
Units = Annotated[int | None, UNITS]
Fen = Annotated[int | None, FEN]
#: In minor units; how many decimals they are of, the reader is told.
Money = Annotated[int | None, MONEY]
BeijingTime = Annotated[Moment | None, BEIJING_TIME]
OffsetTime = Annotated[Moment | None, OFFSET_TIME]
UnixSeconds = Annotated[Moment | None, UNIX_SECONDS]
#: Those that are not empty.
Texts = Annotated[list[str], TEXTS]
#: A list, as it came; empty where it is not said.
Members = Annotated[list[Any], MEMBERS]
#: As it came; who takes it looks at it.
Anything = Annotated[Any, ANYTHING]


# --- plain --------------------------------------------------------------------------------------


class _NotPlainError(Exception):
    """A field is not written as its platform writes it, or is wrong: the strict readers tell."""


class _Known(dict[Any, Any]):
    """Remembers what a strict reader made of a value: words, prices and times come again."""

    def __init__(self, strict: Strict) -> None:
        super().__init__()
        self._strict = strict

    def __missing__(self, value: Any) -> Any:
        found = self._strict({"": value}, "", "")
        if len(self) >= _KNOWN_MAX:
            self.clear()
        self[value] = found
        return found


@cache
def _amounts(digits: int) -> _Known:
    return _Known(partial(money, digits=digits))


def _missing() -> None:
    raise _NotPlainError


@lru_cache(_PATHS_MAX)
def _places(path: str) -> tuple[str, ...]:
    """Return the paths of a list's members, as many as an order has lines."""
    return tuple(f"{path}[{i}]." for i in range(LINES_MAX))


#: What the expressions of plain values call.
_CALLED: Final = {
    "no_code": ("", "0"),
    "number_id": lambda said: number_id({"": said}, "", ""),
    "words": _Known(word),
    "beijing": _Known(beijing),
    "offset": _Known(offset),
    "seconds": _Known(unix_seconds),
    "missing": _missing,
    "places": _places,
}


# --- strict -------------------------------------------------------------------------------------


class _Asked:
    """An object whose fields are read when they are asked for."""

    def __init__(
        self, reader: "Reader[Any]", value: object, at: str, digits: Callable[[], int]
    ) -> None:
        self._reader, self._value, self.at, self._digits = reader, value, at, digits

    def __getattr__(self, name: str) -> Any:
        source = as_object(self._value, self.at[:-1] or "payload")
        return self._reader.asked(name, source, self.at, self._digits)


def _no_digits(_source: Json, _at: str) -> int:
    """Stand for the decimals of an object without amounts."""
    return 0


# --- both ---------------------------------------------------------------------------------------


class Reader(Generic[T]):
    """Reads objects of one class of fields."""

    def __init__(self, said: type[T], digits: Digits = _no_digits) -> None:
        hints = get_type_hints(said, include_extras=True)
        del hints["at"]
        self._said = said
        self._digits = digits
        self._kinds: dict[str, Any] = {name: hint.__metadata__[0] for name, hint in hints.items()}
        self._inner: dict[str, Reader[Any]] = {
            name: Reader(_class_in(hint))
            for name, hint in hints.items()
            if isinstance(self._kinds[name], (Inside, Each))
        }
        self.written = self._shape()
        self.take = self._compiled()

    def __call__(self, source: Json, at: str, *, plain: bool = True) -> T:
        """
        Return the fields of *source*, which stands at the path *at*.

        What may have a NUL in a text is not *plain*. What is wrong is refused when it is asked for.
        """
        if plain:
            try:
                amounts = _amounts(self._digits(source, at))
                return cast("T", self.take(convert(source, self.written), at, amounts))
            except (ValidationError, MalformedPayload, _NotPlainError):
                pass
        return cast("T", _Asked(self, source, at, partial(self._digits, source, at)))

    def asked(self, name: str, source: Json, at: str, digits: Callable[[], int]) -> Any:
        """Return one field of *source*, read strictly."""
        kind = self._kinds[name]
        if isinstance(kind, Inside):
            return _Asked(self._inner[name], within(source, name, at), f"{at}{name}.", digits)
        if isinstance(kind, Each):
            inner = self._inner[name]
            return [_Asked(inner, value, place, digits) for place, value in kind.strict(source, at)]
        strict = partial(money, digits=digits()) if kind.strict is money else kind.strict
        for key in kind.of(name):
            found = strict(source, key, at)
            if found is not None:
                return found
        if kind.needed:
            raise MalformedPayload(at + kind.of(name)[-1], "the id is missing")
        return None

    def _shape(self) -> type[Struct]:
        """Return the type that a plain object is of."""
        needed: dict[str, Any] = {}
        others: dict[str, Any] = {}
        for name, kind in self._kinds.items():
            if isinstance(kind, Inside):
                others[name] = self._inner[name].written | None
            elif isinstance(kind, Each):
                several = _list_of(kind, self._inner[name].written)
                (needed if kind.needed else others)[kind.key] = several
            elif kind is QUANTITY:
                needed[name] = kind.written
            else:
                for key in kind.of(name):
                    known = others.setdefault(key, kind.written)
                    # Of two fields under one key, the one that takes anything gives way.
                    if known is Any:
                        others[key] = kind.written
                    elif kind.written not in (known, Any):
                        raise TypeError(f"{self._said.__name__}: {key!r} is two things at once")
        fields: list[Any] = [*needed.items()]
        fields += [(name, written, None) for name, written in others.items()]
        return defstruct(self._said.__name__, fields, gc=False)

    def _compiled(self) -> Callable[[Any, str, Any], Any]:
        """Return the function that makes our object of a plain one: no loop in it, no look-up."""
        names: dict[str, Any] = {**_CALLED, "Said": self._said}
        values = ["at"]
        for name, kind in self._kinds.items():
            if isinstance(kind, Inside):
                inner = self._inner[name]
                names |= {f"take_{name}": inner.take, f"no_{name}": inner({}, f"{name}.")}
                taken = f"take_{name}(it.{name}, at + '{name}.', amounts)"
                values.append(f"no_{name} if it.{name} is None else {taken}")
            elif isinstance(kind, Each):
                names[f"take_{name}"] = self._inner[name].take
                path = f"{kind.key}.{kind.inner}".rstrip(".")
                parts = f"it.{path}" if kind.needed else f"it.{path} or ()"
                values.append(
                    f"[take_{name}(part, place, amounts)"
                    f" for part, place in zip({parts}, places(at + '{path}'))]"
                )
            else:
                said = [f"({kind.plain.format(v=f'it.{key}')})" for key in kind.of(name)]
                values.append(" or ".join([*said, "missing()"] if kind.needed else said))
        body = "".join(f"        {value},\n" for value in values)
        text_ = f"def take(it, at, amounts):\n    return Said(\n{body}    )\n"
        exec(compile(text_, f"<plain {self._said.__name__}>", "exec"), names)  # noqa: S102  our own table
        return cast("Callable[[Any, str, Any], Any]", names["take"])


def _class_in(hint: Any) -> type[Fields]:
    """Return the class of fields in `_Line` or `list[_Line]`."""
    inner = hint.__origin__
    return cast("type[Fields]", get_args(inner)[0] if get_args(inner) else inner)


def _list_of(kind: Each, written: type[Struct]) -> Any:
    several: Any = Annotated[list[written], Meta(min_length=kind.least, max_length=LINES_MAX)]  # type: ignore[valid-type]
    if not kind.needed:
        return several | None
    if not kind.inner:
        return several
    return defstruct(f"{written.__name__}s", [(kind.inner, several)], gc=False)
