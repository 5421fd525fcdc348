"""
The screens of the console and the conditions they are looked at under: the matrix.

`MATRIX` says which condition is tried on which screen; docs/console.md has it as a table. Where a
condition says nothing of a screen, `WHY_NOT` says why: what has no age does not grow old. A cell
without either lets the document not be written.
"""

from collections.abc import Mapping
from typing import NamedTuple

from streams.operations.rights import Role


class Screen(NamedTuple):
    """One page, as somebody opens it."""

    name: str
    #: Where it is; what stands in braces is in the names of a house.
    path: str
    #: What is there once there is something to see.
    shows: str
    #: What of it an empty house has not; nothing: all of it.
    rows: str = ""
    #: It is told of changes while it is open.
    is_live: bool = False
    #: It says how old its data are.
    has_age: bool = True
    #: It can be asked for in an empty house.
    may_be_empty: bool = False
    #: With 10,000 rows it leads on, or says that there is more.
    goes_on: bool = False
    role: Role | None = Role.ADMIN


_ROWS, _SAID = "main table tbody tr", "main article"

SCREENS = {
    screen.name: screen
    for screen in (
        Screen("orders", "/orders", _ROWS, may_be_empty=True, goes_on=True),
        Screen("order", "/order?key={order}", "ol.life li", is_live=True),
        Screen("story", "/order/story?key={order}", "main pre, main .empty"),
        Screen("to-ship", "/to-ship", _ROWS, may_be_empty=True, goes_on=True),
        Screen("parcels", "/to-ship/parcels?order={go}", "main form"),
        Screen("packing list", "/to-ship/print?order={go}", _ROWS),
        Screen("stock", "/stock", _ROWS, may_be_empty=True, goes_on=True),
        Screen("SKU", "/sku?name={sku}", _ROWS, is_live=True, may_be_empty=True, goes_on=True),
        Screen("exceptions", "/exceptions", _ROWS, may_be_empty=True, goes_on=True),
        Screen("exception", "/exception?id={exception}", "main pre", is_live=True),
        Screen("alerts", "/alerts", _SAID, has_age=False, may_be_empty=True, goes_on=True),
        Screen("intake", "/intake", _SAID, has_age=False, may_be_empty=True, goes_on=True),
        Screen("imports", "/imports", _ROWS, has_age=False, may_be_empty=True, goes_on=True),
        Screen("import", "/import?id={job}", "dl.facts", has_age=False),
        Screen("mappings", "/mappings", _ROWS, may_be_empty=True, goes_on=True),
        Screen(
            "mapping", "/mapping?platform={platform}&shop={there}&theirs={theirs}", "main form",
            has_age=False,
        ),
        Screen("subscribers", "/subscribers", _ROWS, has_age=False, may_be_empty=True),
        Screen(
            "subscriber", "/subscriber?id={subscriber}", "main form", has_age=False, goes_on=True,
        ),
        Screen("audit", "/audit", _ROWS, has_age=False, goes_on=True),
        Screen(
            "figures", "/figures?since=2026-06-01&until=2026-06-30", "#figures-totals tbody tr",
            may_be_empty=True,
        ),
        Screen("reports", "/reports", _ROWS, has_age=False, may_be_empty=True, goes_on=True),
        Screen(
            "settlements", "/settlements", "main form", _ROWS, has_age=False, may_be_empty=True,
            goes_on=True,
        ),
        Screen("annotate", "/order/annotate?key={order}", "main form", has_age=False),
        Screen("labels", "/labels", _ROWS, has_age=False, may_be_empty=True, goes_on=True),
        Screen("users", "/users", _ROWS, has_age=False, goes_on=True),
        Screen("password", "/password", "main form", has_age=False),
        Screen("sign-in", "/sign-in", "main form", has_age=False, role=None),
    )
}  # fmt: skip

_EVERY = list(SCREENS.values())
_BIG = [each for each in _EVERY if each.role is not None and each.name != "password"]
_AGED = [each for each in _EVERY if each.has_age]

#: Condition -> the screens it is tried on.
MATRIX: dict[str, list[Screen]] = {
    "fresh": _EVERY,
    "empty": [each for each in _EVERY if each.may_be_empty],
    "10,000 rows": _BIG,
    "stale": _AGED,
    "console down": [each for each in _EVERY if each.is_live],
    "database away": _EVERY,
    "390 px": _EVERY,
    "keyboard": _EVERY,
    "English": _EVERY,
    "light, dark": _EVERY,
    "no scripts": _EVERY,
    "back": _EVERY,
}

_OF_ONE = "an empty house has no such thing to open it for"
_NEVER_EMPTY = "whoever looks at it is in it"
_NO_ROWS = "it has no rows"
_NO_AGE = "nothing of it comes from the ledger, and it says no age"
_NOT_TOLD = "an open one is told of nothing; the next click says that the console is away"

#: Condition -> why it is tried on no other screens, or why not on one.
WHY_NOT: Mapping[str, Mapping[str, str]] = {
    "empty": {
        "": _OF_ONE,
        **dict.fromkeys(("audit", "users", "password", "sign-in"), _NEVER_EMPTY),
    },
    "10,000 rows": {"": _NO_ROWS},
    "stale": {"": _NO_AGE},
    "console down": {
        "": _NOT_TOLD,
        "annotate": "it says no age; what is sent is answered by nobody, and the form stays",
    },
}

#: The screens that docs/screens has pictures of.
PICTURES = [
    SCREENS[name]
    for name in ("orders", "order", "to-ship", "parcels", "stock", "SKU", "exceptions", "mappings")
]


def table(forms: Mapping[str, list[str]], why_not: Mapping[str, Mapping[str, str]]) -> str:
    """
    Return the matrix as a table for a document, and below it why cells are empty.

    *forms*: condition -> names of screens; *why_not* is `WHY_NOT` of these. Raises KeyError for a
    cell that is neither tried nor explained.
    """
    columns = {name: {each.name for each in screens} for name, screens in MATRIX.items()}
    columns |= {name: set(screens) for name, screens in forms.items()}
    reasons: dict[str, int] = {}

    def cell(condition: str, screen: str) -> str:
        if screen in columns[condition]:
            return "yes"
        known = (WHY_NOT | why_not)[condition]
        why = known[screen] if screen in known else known[""]
        return f"– {reasons.setdefault(why, len(reasons) + 1)}"

    lines = [f"| screen | {' | '.join(columns)} |", f"| --- |{' --- |' * len(columns)}"]
    lines += [
        f"| {name} | {' | '.join(cell(condition, name) for condition in columns)} |"
        for name in SCREENS
    ]
    notes = [f"{number}. {why[0].upper()}{why[1:]}." for why, number in reasons.items()]
    return "\n".join([*lines, "", "Where there is nothing to try:", "", *notes]) + "\n"
