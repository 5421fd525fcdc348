"""
Which labels and fields there are: defined by the company's own people, as pages.

What is written here is what `orderflow labels` and `orderflow fields` write. Nothing is deleted:
what is retired stays on the orders that carry it.
"""

from collections.abc import Awaitable

from starlette.responses import Response

from schemas.errors import Rejected
from streams.annotating import table
from streams.annotating.definitions import (
    COLOURS,
    FIELDS_MAX,
    LABELS_MAX,
    NOTING,
    BadAnnotation,
    CustomField,
    Definition,
    Kind,
    Label,
)
from streams.annotating.table import AsItIs, NoSuch, Table
from streams.console.orders import worded
from streams.console.page import Fields, Handler, Page, Visit
from streams.operations.operation import NotFound, Refused
from streams.operations.rights import Right

#: Where each kind of definition has its pages.
_PATHS = {Table.LABELS: "/label", Table.FIELDS: "/field"}


async def list_definitions(visit: Visit) -> Response:
    """Show all labels and fields, and the forms for others."""
    known = await visit.house.reads.definitions()
    return visit.show(
        "labels.html", known=known, colours=COLOURS, kinds=list(Kind), roles=sorted(NOTING),
        labels_max=LABELS_MAX, fields_max=FIELDS_MAX,
    )  # fmt: skip


def _showing(of: Table, name: str) -> Handler:
    async def show(visit: Visit) -> Response:
        code = visit.asked.one("code")
        known = await visit.house.reads.definitions()
        found: Definition | None = (known.labels if of is Table.LABELS else known.fields).get(code)
        if found is None:
            raise NotFound("no_definition")
        return visit.show(
            "label.html", each=found, path=_PATHS[of], is_label=of is Table.LABELS,
            history=await visit.house.reads.definition_changes(of, code), colours=COLOURS,
            roles=sorted(NOTING),
        )  # fmt: skip

    show.__name__ = f"show_{name}"
    return show


def read(of: Table, form: Fields) -> Definition:
    """Return what a form says a label or field shall be."""
    names = (form.one("code"), form.one("zh"), form.one("en"))
    if of is Table.LABELS:
        return Label(*names, form.one("colour"))
    return CustomField(
        *names, form.one("kind"),
        tuple(each for line in form.whole("choices").splitlines() if (each := line.strip())),
        form.one("least") or None, form.one("most") or None, tuple(form.all("role")),
    )  # fmt: skip


def _adding(of: Table, name: str) -> Handler:
    async def add(visit: Visit) -> Response:
        reason = visit.form.a_reason()
        wish = read(of, visit.form)
        await _answered(visit, table.add(visit.house.operations, wish, visit.known.name, reason))
        return visit.go(_PATHS[of], code=wish.code)

    add.__name__ = f"add_{name}"
    return add


def _changing(of: Table, name: str) -> Handler:
    async def change(visit: Visit) -> Response:
        reason, wish, seen = visit.form.a_reason(), read(of, visit.form), _seen(visit)
        work = table.change(visit.house.operations, wish, visit.known.name, reason, seen)
        await _answered(visit, work)
        return visit.go(_PATHS[of], code=wish.code)

    change.__name__ = f"change_{name}"
    return change


def _retiring(of: Table, name: str, *, again: bool) -> Handler:
    async def retire(visit: Visit) -> Response:
        code, reason, by = visit.form.one("code"), visit.form.a_reason(), visit.known.name
        seen, dsn = _seen(visit), visit.house.operations
        await _answered(visit, table.retire(dsn, of, code, by, reason, seen, again=again))
        return visit.go(_PATHS[of], code=code)

    retire.__name__ = f"{'restore' if again else 'retire'}_{name}"
    return retire


def _seen(visit: Visit) -> int:
    seen = visit.form.a_number("version")
    if seen is None:
        raise Rejected("bad_number")
    return seen


async def _answered(visit: Visit, work: Awaitable[None]) -> None:
    try:
        await work
    except BadAnnotation as error:
        raise Rejected(worded(visit, error)) from error
    except NoSuch as error:
        raise NotFound("no_definition") from error
    except AsItIs as error:
        raise Refused(f"definition_{error.why}") from error


def _pages(of: Table, name: str) -> tuple[Page, ...]:
    path = _PATHS[of]
    forms = {
        "add": _adding(of, name),
        "change": _changing(of, name),
        "retire": _retiring(of, name, again=False),
        "restore": _retiring(of, name, again=True),
    }
    return (
        Page("GET", path, _showing(of, name), needs=Right.DEFINE),
        *(
            Page(
                "POST", f"{path}/{doing}", handler,
                needs=Right.DEFINE, did=f"{name}s.{doing}", about=("code",), once=True,
            )
            for doing, handler in forms.items()
        ),
    )  # fmt: skip


PAGES = (
    Page("GET", "/labels", list_definitions, needs=Right.DEFINE),
    *_pages(Table.LABELS, "label"),
    *_pages(Table.FIELDS, "field"),
)
