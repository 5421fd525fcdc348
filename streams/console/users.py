"""
Who may log in: the functions of `streams/console/accounts.py`, as pages for admins.

Promises: a one-time password is in the answer to the form that had it made, once, and in no other
page. Nobody changes what they may do themselves, and one admin stays. A form that is sent twice is
done once; the second is told so.
"""

from collections.abc import Awaitable

from starlette.responses import Response

from schemas.errors import Rejected
from streams.console.accounts import NAME_LENGTH_MAX, LastAdmin
from streams.console.page import Handler, Page, Visit
from streams.operations.operation import NotFound, Refused
from streams.operations.rights import Right, Role

#: A row has four forms.
PAGE = 50


async def list_users(visit: Visit) -> Response:
    """Show a page of those who may log in or might once, by name, and the form for another."""
    begin = visit.asked.one("from")
    rows = await visit.house.accounts.listed(begin, PAGE + 1)
    return visit.show(
        "users.html", rows=rows[:PAGE], begin=begin, roles=list(Role), name_max=NAME_LENGTH_MAX,
        next=rows[PAGE]["name"] if len(rows) > PAGE else None,
    )  # fmt: skip


async def add_user(visit: Visit) -> Response:
    """Make a user, and show the one-time password."""
    form = visit.form
    form.a_reason()
    name, role = form.one("name"), _role(form.one("role"))
    if not name or len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise Rejected("bad_user_name")
    password = await visit.house.accounts.add(name, role, visit.known.name)
    if password is None:
        raise Refused("user_is_there")
    return visit.show("user_password.html", name=name, password=password)


async def reset_user(visit: Visit) -> Response:
    """Give a user a one-time password, and show it."""
    name = _another(visit)
    password = await visit.house.accounts.reset(name, visit.known.name)
    if password is None:
        raise NotFound("no_user")
    return visit.show("user_password.html", name=name, password=password)


async def give_user_role(visit: Visit) -> Response:
    """Give a user another role."""
    name, role = _another(visit), _role(visit.form.one("role"))
    return await _done(visit, visit.house.accounts.give(name, role, visit.known.name))


async def disable_user(visit: Visit) -> Response:
    """Let a user log in no more."""
    return await _done(visit, visit.house.accounts.disable(_another(visit), visit.known.name))


async def enable_user(visit: Visit) -> Response:
    """Let a user who was disabled log in again."""
    return await _done(visit, visit.house.accounts.enable(_another(visit), visit.known.name))


def _role(said: str) -> Role:
    if said not in set(Role):
        raise Rejected("unknown_word")
    return Role(said)


def _another(visit: Visit) -> str:
    """Return whom the form is about; raises Refused where it is whoever sends it."""
    visit.form.a_reason()
    name = visit.form.one("name")
    if name == visit.known.name:
        raise Refused("not_oneself")
    return name


async def _done(visit: Visit, work: Awaitable[bool]) -> Response:
    try:
        if not await work:
            raise NotFound("no_user")
    except LastAdmin as error:
        raise Refused("last_admin") from error
    begin = visit.form.one("from")
    return visit.go("/users", **({"from": begin} if begin else {}))


def _form(doing: str, handler: Handler, *about: str) -> Page:
    return Page(
        "POST", f"/user/{doing}", handler,
        needs=Right.USERS, did=f"users.{doing}", about=("name", *about), once=True,
    )  # fmt: skip


PAGES = (
    Page("GET", "/users", list_users, needs=Right.USERS),
    _form("add", add_user, "role"),
    _form("role", give_user_role, "role"),
    _form("disable", disable_user),
    _form("enable", enable_user),
    _form("password", reset_user),
)
