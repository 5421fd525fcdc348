"""
What a label and a custom field may be, and what an order may carry of them.

Pure: definitions and what an order carries come in as values. Values of fields are texts in one
spelling (`read`), so that an exact search finds them; a number is never a float.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Final, NamedTuple, TypeAlias

from schemas.base import Word
from schemas.errors import Rejected
from streams.operations.rights import RIGHTS, Right, Role

#: So many labels and so many fields are defined at most, retired ones too.
LABELS_MAX: Final = 200
FIELDS_MAX: Final = 50
#: So many labels an order carries at most.
LABELS_OF_ORDER_MAX: Final = 20
NAME_LENGTH_MAX: Final = 40
TEXT_LENGTH_MAX: Final = 500
CHOICES_MAX: Final = 50
CHOICE_LENGTH_MAX: Final = 60
#: What a label is painted with.
COLOURS: Final = (
    "grey", "red", "orange", "yellow", "green", "teal", "blue", "purple", "pink",
)  # fmt: skip
_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,6})?")
#: A longer value is searched by its digest.
_WORD_BYTES_MAX = 64


class Kind(Word):
    """What the values of a field are."""

    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    CHOICE = "choice"


class Wrong(Word):
    """What cannot be right about a definition, or about what an order shall carry."""

    CODE = "code"
    NAME = "name"
    COLOUR = "colour"
    KIND = "kind"
    CHOICES = "choices"
    LIMITS = "limits"
    ROLES = "roles"
    LABEL = "label"
    LABEL_RETIRED = "label_retired"
    LABELS_MANY = "labels_many"
    FIELD = "field"
    FIELD_RETIRED = "field_retired"
    FIELD_ROLE = "field_role"
    TEXT = "text"
    NUMBER = "number"
    DATE = "date"
    CHOICE = "choice"


SENTENCES: Final[Mapping[Wrong, str]] = {
    Wrong.CODE: "A code has 1 to 40 of a-z, 0-9 and -, and begins with no -: {about!r} is none.",
    Wrong.NAME: f"A name has 1 to {NAME_LENGTH_MAX} characters that can be seen: {{about!r}}.",
    Wrong.COLOUR: f"A colour is one of {', '.join(COLOURS)}, not {{about!r}}.",
    Wrong.KIND: f"A kind is one of {', '.join(Kind)}, not {{about!r}}.",
    Wrong.CHOICES: f"A choice, and no other kind, has 1 to {CHOICES_MAX} choices of at most "
    f"{CHOICE_LENGTH_MAX} characters, each once: {{about}}.",
    Wrong.LIMITS: "The limits of {about} cannot be: numbers and dates lie between least and most, "
    f"a text has at most 1 to {TEXT_LENGTH_MAX} characters, a choice has none.",
    Wrong.ROLES: "Only roles that may note something can be named, not {about!r}.",
    Wrong.LABEL: "There is no label {about!r}.",
    Wrong.LABEL_RETIRED: "The label {about} is retired: orders keep it, and none gets it.",
    Wrong.LABELS_MANY: f"An order carries at most {LABELS_OF_ORDER_MAX} labels, not {{about}}.",
    Wrong.FIELD: "There is no field {about!r}.",
    Wrong.FIELD_RETIRED: "The field {about} is retired: what it holds stays as it is.",
    Wrong.FIELD_ROLE: "Your role does not edit the field {about}.",
    Wrong.TEXT: "{about} is too long, or has characters that nobody sees.",
    Wrong.NUMBER: "{about} takes a number, 15 digits and 6 decimals at most, within its limits.",
    Wrong.DATE: "{about} takes a date such as 2026-11-29, within its limits.",
    Wrong.CHOICE: "{about} takes one of its choices.",
}


class BadAnnotation(Rejected):
    """A definition, or what an order shall carry, cannot be so."""

    def __init__(self, wrong: Wrong, about: str) -> None:
        super().__init__(SENTENCES[wrong].format(about=about[:80]))
        self.wrong = wrong
        self.about = about[:80]


class Label(NamedTuple):
    """A word that orders are marked with."""

    code: str
    zh: str
    en: str
    colour: str = COLOURS[0]
    is_retired: bool = False
    version: int = 0


class CustomField(NamedTuple):
    """Something else that is noted of orders."""

    code: str
    zh: str
    en: str
    kind: str = Kind.TEXT.value
    choices: tuple[str, ...] = ()
    #: Of numbers and dates; of a text, `most` is its length.
    least: str | None = None
    most: str | None = None
    #: Who may edit it, of those who may note anything; nobody named: all of them.
    roles: tuple[str, ...] = ()
    is_retired: bool = False
    version: int = 0


Definition: TypeAlias = Label | CustomField


class Definitions(NamedTuple):
    """All that is defined, by code."""

    labels: Mapping[str, Label]
    fields: Mapping[str, CustomField]


class Annotation(NamedTuple):
    """What one order carries; version 0: nobody ever noted anything."""

    version: int = 0
    labels: tuple[str, ...] = ()
    fields: Mapping[str, str] = {}
    by: str = ""
    at: datetime | None = None

    def carries(self, other: "Annotation") -> bool:
        """Say whether both carry the same."""
        return (self.labels, dict(self.fields)) == (other.labels, dict(other.fields))


NOTHING: Final = Annotation()


# --- definitions ----------------------------------------------------------------------------------


def checked(definition: Definition) -> Definition:
    """Return *definition* in its one spelling; raises BadAnnotation where it cannot be."""
    if not _CODE.fullmatch(definition.code):
        raise BadAnnotation(Wrong.CODE, definition.code)
    zh, en = _name(definition.zh), _name(definition.en or definition.zh)
    if isinstance(definition, Label):
        if definition.colour not in COLOURS:
            raise BadAnnotation(Wrong.COLOUR, definition.colour)
        return definition._replace(zh=zh, en=en)
    return _checked_field(definition._replace(zh=zh, en=en))


def _name(said: str) -> str:
    name = _spelt(said)
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise BadAnnotation(Wrong.NAME, said)
    return name


def _spelt(said: str) -> str:
    return unicodedata.normalize("NFC", said).strip()


def _checked_field(field: CustomField) -> CustomField:
    if field.kind not in set(Kind):
        raise BadAnnotation(Wrong.KIND, field.kind)
    choices = tuple(_spelt(each) for each in field.choices)
    if not _are_choices(field.kind, choices):
        raise BadAnnotation(Wrong.CHOICES, ", ".join(choices))
    if strange := sorted(role for role in field.roles if role not in NOTING):
        raise BadAnnotation(Wrong.ROLES, strange[0])
    least, most = _limits(field)
    return field._replace(
        choices=choices, roles=tuple(sorted(set(field.roles))), least=least, most=most
    )


def _are_choices(kind: str, choices: tuple[str, ...]) -> bool:
    if kind != Kind.CHOICE:
        return not choices
    return (
        0 < len(choices) <= CHOICES_MAX
        and len(set(choices)) == len(choices)
        and all(0 < len(each) <= CHOICE_LENGTH_MAX and each.isprintable() for each in choices)
    )


def _limits(field: CustomField) -> tuple[str | None, str | None]:
    least, most = (None if not said else said.strip() for said in (field.least, field.most))
    if least is None and most is None:
        return None, None
    try:
        match field.kind:
            case Kind.TEXT if least is None and most is not None and most.isascii():
                if most.isdigit() and 0 < int(most[:5]) <= TEXT_LENGTH_MAX:
                    return None, str(int(most))
            case Kind.NUMBER | Kind.DATE:
                free = field._replace(least=None, most=None)
                low, high = (None if said is None else read(free, said) for said in (least, most))
                if low is None or high is None or _order(field, low) <= _order(field, high):
                    return low, high
            case _:
                pass
    except BadAnnotation:
        pass
    raise BadAnnotation(Wrong.LIMITS, field.code)


#: The roles that may note something of an order.
NOTING: Final = frozenset(role.value for role in Role if Right.ANNOTATE in RIGHTS[role])


def may_edit(field: CustomField, role: Role) -> bool:
    """Say whether *role* may fill in *field*; an admin always may, who could change it too."""
    if role.value not in NOTING or field.is_retired:
        return False
    return not field.roles or role.value in field.roles or role is Role.ADMIN


# --- values ---------------------------------------------------------------------------------------


def read(field: CustomField, said: str) -> str:
    """Return a value of *field* in its one spelling; raises BadAnnotation for what is none."""
    text = _spelt(said)
    match field.kind:
        case Kind.NUMBER:
            return _number(field, text)
        case Kind.DATE:
            return _date(field, text)
        case Kind.CHOICE:
            if text not in field.choices:
                raise BadAnnotation(Wrong.CHOICE, field.code)
            return text
        case _:
            if len(text) > int(field.most or TEXT_LENGTH_MAX) or not text.isprintable():
                raise BadAnnotation(Wrong.TEXT, field.code)
            return text


def _number(field: CustomField, text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise BadAnnotation(Wrong.NUMBER, field.code)
    value = f"{Decimal(text):f}"
    if "." in value:
        value = value.rstrip("0").rstrip(".")
    return _within(field, "0" if value == "-0" else value, Wrong.NUMBER)


def _date(field: CustomField, text: str) -> str:
    try:
        value = date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise BadAnnotation(Wrong.DATE, field.code) from error
    if value != text:  # a week, or digits without lines between
        raise BadAnnotation(Wrong.DATE, field.code)
    return _within(field, value, Wrong.DATE)


def _within(field: CustomField, value: str, wrong: Wrong) -> str:
    at = _order(field, value)
    if field.least is not None and at < _order(field, field.least):
        raise BadAnnotation(wrong, field.code)
    if field.most is not None and at > _order(field, field.most):
        raise BadAnnotation(wrong, field.code)
    return value


def _order(field: CustomField, value: str) -> Decimal:
    """Return where *value* stands among others of its field."""
    return Decimal(value if field.kind == Kind.NUMBER else date.fromisoformat(value).toordinal())


# --- what an order carries ------------------------------------------------------------------------


def wished(
    before: Annotation,
    labels: Iterable[str],
    fields: Mapping[str, str],
    known: Definitions,
    role: Role,
) -> Annotation:
    """
    Return what an order that carries *before* shall carry: all of *labels*, and *fields* changed.

    A field that is not named stays as it is, an empty one is taken away. What it carries already it
    may keep, whatever became of its definition. Raises BadAnnotation.
    """
    wanted = tuple(sorted(set(labels)))
    for code in wanted:
        if code not in before.labels:
            _check_label(code, known)
    if len(wanted) > LABELS_OF_ORDER_MAX:
        raise BadAnnotation(Wrong.LABELS_MANY, str(len(wanted)))
    kept = dict(before.fields)
    for code, said in fields.items():
        if _spelt(said) == kept.get(code, ""):
            continue
        field = _editable(code, known, role)
        if not said.strip():
            kept.pop(code, None)
        else:
            kept[code] = read(field, said)
    return before._replace(labels=wanted, fields=dict(sorted(kept.items())))


def _check_label(code: str, known: Definitions) -> None:
    label = known.labels.get(code)
    if label is None:
        raise BadAnnotation(Wrong.LABEL, code)
    if label.is_retired:
        raise BadAnnotation(Wrong.LABEL_RETIRED, code)


def _editable(code: str, known: Definitions, role: Role) -> CustomField:
    field = known.fields.get(code)
    if field is None:
        raise BadAnnotation(Wrong.FIELD, code)
    if field.is_retired:
        raise BadAnnotation(Wrong.FIELD_RETIRED, code)
    if not may_edit(field, role):
        raise BadAnnotation(Wrong.FIELD_ROLE, code)
    return field


def merged(before: Annotation, mine: Annotation, theirs: Annotation) -> Annotation:
    """Return *theirs* with what *mine* changed since *before*; where both changed it, mine."""
    added, removed = {*mine.labels} - {*before.labels}, {*before.labels} - {*mine.labels}
    fields = dict(theirs.fields)
    for code in {*before.fields, *mine.fields}:
        said = mine.fields.get(code, "")
        if said != before.fields.get(code, ""):
            fields[code] = said
    labels = sorted({*theirs.labels, *added} - removed)
    return theirs._replace(labels=tuple(labels), fields=dict(sorted(fields.items())))


def words_of(annotation: Annotation) -> list[str]:
    """Return the words that an order is searched by."""
    return [
        *(label_word(code) for code in annotation.labels),
        *(field_word(code, value) for code, value in annotation.fields.items()),
    ]


def label_word(code: str) -> str:
    """Return the word of a label."""
    return f"label:{code}"


def field_word(code: str, value: str) -> str:
    """Return the word of a field that holds just *value*."""
    raw = value.encode()
    kept = value if len(raw) <= _WORD_BYTES_MAX else f"#{sha256(raw).hexdigest()}"
    return f"field:{code}={kept}"


def asked_word(field: CustomField, said: str) -> str:
    """Return the word by which orders are found whose *field* is *said*, however it is spelt."""
    try:
        value = read(field._replace(least=None, most=None, choices=()), said)
    except BadAnnotation:
        value = _spelt(said)  # a choice, also one of before; what is no number is found by nobody
    return field_word(field.code, value)


# --- in words -------------------------------------------------------------------------------------


class Changed(NamedTuple):
    """What one change did to an order."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    #: Field, value before, value after; nothing is "".
    fields: tuple[tuple[str, str, str], ...]


def changed(before: Annotation, after: Annotation) -> Changed:
    """Return what is another between two states of an order."""
    codes = sorted({*before.fields, *after.fields})
    return Changed(
        tuple(code for code in after.labels if code not in before.labels),
        tuple(code for code in before.labels if code not in after.labels),
        tuple(
            (code, before.fields.get(code, ""), after.fields.get(code, ""))
            for code in codes
            if before.fields.get(code) != after.fields.get(code)
        ),
    )


def in_words(done: Changed) -> str:
    """Return *done* in one sentence."""
    parts = [
        *(f"labelled {code}" for code in done.added),
        *(f"label {code} taken off" for code in done.removed),
        *(
            f"{code}: {old or 'nothing'} became {new or 'nothing'}"
            for code, old, new in done.fields
        ),
    ]
    return "; ".join(parts)
