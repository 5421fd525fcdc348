"""
Logging in and out, one's own password, and the language.

Promises: a log-in begins a new session, whatever cookie came; where a log-in leads is always a page
of ours; what was wrong with it is not told.
"""

import secrets

from starlette.responses import RedirectResponse, Response

from schemas.errors import Rejected
from streams.console.accounts import NAME_LENGTH_MAX, PASSWORD_LENGTH_MAX
from streams.console.page import SESSION, STRANGER, YEAR_S, Page, Visit
from streams.console.terms import LANGUAGES
from streams.operations.rights import Right

#: Of whom the record says that nobody is known by that name.
NOBODY = "?"


async def home(visit: Visit) -> Response:
    """Lead to the orders."""
    return visit.go("/orders")


async def show_sign_in(visit: Visit) -> Response:
    """Show the form, with what proves that it is ours."""
    return _sign_in(visit, ours(visit.asked.one("to")))


def _sign_in(visit: Visit, to: str, status: int = 200) -> Response:
    token = secrets.token_urlsafe(24)
    answer = visit.show("sign_in.html", status, to=to, token=token, failed=status != 200)
    visit.cookie(answer, STRANGER, token)
    return answer


def ours(to: str) -> str:
    """Return *to* if it is a page of ours, else the first one."""
    # What begins with one `/` has no scheme and no host, whatever follows.
    fine = to.startswith("/") and not to.startswith("//") and "\\" not in to and to.isprintable()
    return to if fine else "/"


async def sign_in(visit: Visit) -> Response:
    """Take a name and a password."""
    form, accounts = visit.form, visit.house.accounts
    name, password, to = form.one("name"), form.whole("password"), ours(form.one("to"))
    if not 0 < len(name) <= NAME_LENGTH_MAX or len(password) > PASSWORD_LENGTH_MAX:
        return _sign_in(visit, to, 401)
    person = await accounts.attempt(name, visit.address)
    number = await accounts.begin(person.name if person else NOBODY, None, visit.address, "sign-in")
    begun = await accounts.log_in(person, password)
    await accounts.end(number, "refused" if begun is None else "done")
    if begun is None:
        return _sign_in(visit, to, 401)
    if visit.session is not None:
        await accounts.log_out(visit.session, everywhere=False)
    token, session = begun
    answer = visit.go("/password" if session.must_change else to)
    visit.cookie(answer, SESSION, token)
    visit.cookie(answer, STRANGER, "")
    return answer


async def sign_out(visit: Visit) -> Response:
    """End this session, or all of one's own."""
    everywhere = visit.form.one("everywhere") == "1"
    await visit.house.accounts.log_out(visit.known, everywhere=everywhere)
    answer = visit.go("/sign-in")
    visit.cookie(answer, SESSION, "")
    return answer


async def show_password(visit: Visit) -> Response:
    """Show the form for one's own password."""
    return visit.show("password.html")


async def change_password(visit: Visit) -> Response:
    """Change one's own password."""
    form = visit.form
    new = form.whole("new")
    if new != form.whole("again"):
        raise Rejected("passwords_differ")
    done = await visit.house.accounts.change_password(
        visit.known, form.whole("old"), new, visit.address
    )
    if not done:
        raise Rejected("wrong_password")
    return visit.go("/orders")


async def speak(visit: Visit) -> Response:
    """Go on in another language."""
    language = visit.asked.one("language")
    answer = RedirectResponse(ours(visit.asked.one("to")), 303, {"cache-control": "no-store"})
    if language in LANGUAGES:
        visit.cookie(answer, "language", language, YEAR_S)
    return answer


PAGES = (
    Page("GET", "/", home, needs=Right.LOOK),
    Page("GET", "/sign-in", show_sign_in, needs=None),
    Page("POST", "/sign-in", sign_in, needs=None, did="sign-in"),
    Page(
        "POST", "/sign-out", sign_out, needs=Right.LOOK, did="sign-out", about=("everywhere",),
        while_must_change=True,
    ),
    Page("GET", "/password", show_password, needs=Right.LOOK, while_must_change=True),
    Page(
        "POST", "/password", change_password, needs=Right.LOOK, did="password",
        while_must_change=True,
    ),
    Page("GET", "/language", speak, needs=None),
)  # fmt: skip
