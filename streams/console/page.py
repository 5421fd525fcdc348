"""
One page of the console: a Starlette route that says who may see it and what is done there.

A module that has pages keeps a table of them, `PAGES`, and is named in `streams/console/web.py`. A
handler is `async def handler(visit) -> Response`: `visit` is who asks, what was asked, and how it
is shown.

Promises: nobody without the right gets as far as a handler; a form counts only from a page of this
session, on this site; what a form does is on record before it is done, and so is what came of it.
That something was done is told by an address only to the session that did it: a link from elsewhere
makes no page say so.
Whatever cannot be answered is a page with a sentence, and nothing of how it came about.
"""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode
from zoneinfo import ZoneInfo

from jinja2 import Environment
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from schemas.errors import Misconfigured, OrderflowError, Rejected, Unavailable
from streams.annotating.definitions import Definition
from streams.annotating.leases import Leases
from streams.clock import new_id
from streams.console import cursors
from streams.console.accounts import Accounts, Session, TooManyAttempts
from streams.console.live import Live
from streams.console.terms import LANGUAGES, TERMS, say
from streams.console.uploads import FormWithFile
from streams.figures.upkeep import Upkeep
from streams.gateway.requests import Gone, Headers, Reader
from streams.gateway.requests import Refused as NotRead
from streams.importing.pages import Imports
from streams.operations.operation import SLOW_AFTER_S, Forbidden, NotFound, Refused
from streams.operations.rights import RIGHTS, Right
from streams.reads import Reads
from streams.settings import Settings
from streams.settlements.desk import Desk

logger = logging.getLogger(__name__)

#: A field of a form may stand so often in all; a bulk action has one for each exception.
FIELDS_MAX = 1_000
#: A value in an address is never longer, in characters: the cursor of a long key is the longest.
VALUE_LENGTH_MAX = cursors.LENGTH_MAX
REASON_LENGTH_MAX = 1_000
_TOKEN_LENGTH_MAX = 100
#: What an address says was done.
DONE = "done"
_SIGNATURE_LENGTH = 32
#: A cookie that a browser keeps for so long, s: the language.
YEAR_S = 365 * 86_400
_OURS = frozenset({"same-origin", "none"})


class House(NamedTuple):
    """What the pages work with: `request.app.state.house`."""

    settings: Settings
    #: PostgreSQL as the role for operations.
    operations: str
    reads: Reads
    accounts: Accounts
    live: Live
    imports: Imports
    settling: Desk
    reader: Reader
    pages: Environment
    figures: Upkeep
    leases: Leases


class Fields:
    """What a form or an address says, text by text."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs
        if any("\0" in text for pair in pairs for text in pair):
            raise Rejected("bad_text")

    def one(self, name: str, absent: str = "") -> str:
        """Return the value of *name*, without spaces around it; raises Rejected for several."""
        found = self.all(name)
        if len(found) > 1:
            raise Rejected("asked_twice")
        return found[0].strip() if found else absent

    def whole(self, name: str) -> str:
        """Return the value of *name* as it was typed."""
        found = self.all(name)
        return found[0] if len(found) == 1 else ""

    def all(self, name: str) -> list[str]:
        """Return every value of *name*."""
        return [value for key, value in self._pairs if key == name]

    def beginning(self, start: str) -> dict[str, str]:
        """Return the values whose names begin with *start*, by the rest of the name."""
        names = dict.fromkeys(name for name, _ in self._pairs if name.startswith(start))
        return {name.removeprefix(start): self.one(name) for name in names}

    def a_reason(self) -> str:
        """Return why something is done; raises Rejected where nobody says."""
        reason = self.one("reason")
        if not reason or len(reason) > REASON_LENGTH_MAX:
            raise Rejected("no_reason")
        return reason

    def a_number(self, name: str) -> int | None:
        """Return a whole number; None where there is none; raises Rejected for anything else."""
        said = self.one(name)
        if not said:
            return None
        digits = said.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
            raise Rejected("bad_number")
        return int(said)


@dataclass
class Entry:
    """What is on record of one action, while it is under way."""

    number: int
    outcome: str = "done"
    said: str = ""


class Visit:
    """One request to a page, by whoever it is."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.house: House = request.app.state.house
        self.asked = Fields([])
        self.form = Fields([])
        self.session: Session | None = None
        #: The file that a form brings, as it comes.
        self.upload: FormWithFile | None = None
        said = request.cookies.get("language", "")
        self.language = said if said in LANGUAGES else LANGUAGES[0]

    @property
    def known(self) -> Session:
        """The session; a page that needs a right has one."""
        if self.session is None:
            raise AssertionError("nobody is logged in here")
        return self.session

    @property
    def address(self) -> str:
        """Where the request comes from; behind a proxy, the proxy."""
        return self.request.client.host if self.request.client else "?"

    @property
    def here(self) -> str:
        """The address of this page, to come back to; after a form, the first page's."""
        if self.request.method != "GET":
            return "/"
        url = self.request.url
        whole = f"{url.path}?{url.query}" if url.query else url.path
        return whole if len(whole) <= VALUE_LENGTH_MAX else url.path

    @asynccontextmanager
    async def on_record(
        self, did: str, about: str, why: str = "", command: str | None = None
    ) -> AsyncIterator[Entry]:
        """Put on record what is about to be done, and afterwards what came of it."""
        accounts, session = self.house.accounts, self.known
        number = await accounts.begin(
            session.name, session.role.value, self.address, did, about, why, command
        )
        entry = Entry(number)
        try:
            yield entry
        except (NotRead, OrderflowError) as error:
            await accounts.end(number, _outcome_of(error), str(error))
            raise
        except Exception:
            await accounts.end(number, "failed")
            raise
        await accounts.end(number, entry.outcome, entry.said)

    @property
    def zone(self) -> ZoneInfo:
        """The zone that pages show times in."""
        return ZoneInfo(self.house.settings.console_zone)

    def may(self, right: Right) -> bool:
        """Say whether whoever asks has *right*."""
        return self.session is not None and right in RIGHTS[self.session.role]

    def say(self, key: str, **values: Any) -> str:
        """Return a term in the visitor's language."""
        return say(self.language, key, **values)

    def called(self, definition: Definition) -> str:
        """Return what a label or field is called in the visitor's language."""
        return definition.zh if self.language == LANGUAGES[0] else definition.en

    def signed(self, path: str, said: str) -> str:
        """Return *said* as the page at *path* believes it of an address, in this session."""
        # Nobody else has read the token: it stands in forms of this session only.
        told = f"{path}\n{said}".encode()
        signature = hmac.digest(self.known.csrf.encode(), told, "sha256").hex()
        return f"{signature[:_SIGNATURE_LENGTH]}.{said}"

    def believed(self, said: str) -> str:
        """Return what was `signed` for this page in this session; of anything else nothing."""
        told = said[_SIGNATURE_LENGTH + 1 :]
        if self.session is None:
            return ""
        fine = self.signed(self.request.url.path, told)
        return told if hmac.compare_digest(fine.encode(), said.encode()) else ""

    def show(self, template: str, code: int = 200, **values: Any) -> Response:
        """Return a page from a template."""
        page = self.house.pages.get_template(template)
        body = page.render(visit=self, t=self.say, may=self.may, Right=Right, once=new_id, **values)
        return HTMLResponse(body, code, {"cache-control": "no-store"})

    def go(self, path: str, **asked: str) -> Response:
        """Send the browser on to another page, after a form; what was `done` is signed."""
        if DONE in asked:
            asked[DONE] = self.signed(path, asked[DONE])
        where = f"{path}?{urlencode(asked)}" if asked else path
        return RedirectResponse(where, 303, {"cache-control": "no-store"})

    def cookie(self, answer: Response, name: str, value: str, max_age_s: int | None = None) -> None:
        """Set a cookie that no script sees; an empty one is taken away."""
        answer.set_cookie(
            cookie_name(self.house.settings, name) if name != "language" else name,
            value,
            max_age=max_age_s if value else 0,
            path="/",
            secure=self.house.settings.console_cookies_secure,
            httponly=True,
            samesite="lax",
        )


def cookie_name(settings: Settings, name: str) -> str:
    """Return the name under which a browser keeps a secret: bound to this host where TLS is on."""
    return f"__Host-{name}" if settings.console_cookies_secure else name


SESSION = "orderflow"
#: What proves that a log-in form is ours, before there is a session.
STRANGER = "orderflow-stranger"

Handler = Callable[[Visit], Awaitable[Response]]


class Page(Route):
    """A route with the right it needs and, where it changes something, the word for the record."""

    def __init__(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        needs: Right | None,
        did: str | None = None,
        about: Sequence[str] = (),
        while_must_change: bool = False,
        once: bool = False,
        takes_file: bool = False,
        for_anyone: bool = False,
    ) -> None:
        if (method != "GET") != (did is not None):
            raise Misconfigured(f"{method} {path}: what changes something is on record, no other.")
        self.method, self.needs, self.did = method, needs, did
        #: The fields of the form that say what it is about.
        self.about = about
        self.handler = handler
        #: The form brings a file, which the handler reads as it comes.
        self.takes_file = takes_file
        #: Also for those who have to change their password first.
        self.while_must_change = while_must_change
        #: A form of this page is done once: whatever it does has no id of its own to know it by.
        self.once = once
        #: Does not ask who is there: it is given also while PostgreSQL, which knows, is away.
        self.for_anyone = for_anyone
        super().__init__(path, self._answered, methods=[method], name=handler.__name__)

    async def _answered(self, request: Request) -> Response:
        answer = await self._answer(request)
        if self.takes_file and answer.status_code >= 400:
            # The rest of a file that was not read cannot be told from a next request.
            answer.headers["connection"] = "close"
        return answer

    async def _answer(self, request: Request) -> Response:
        visit = Visit(request)
        try:
            visit.session = None if self.for_anyone else await _session(visit)
            no = self._not_admitted(visit)
            if no is not None:
                return no
            visit.asked = _of_address(visit)
            if self.did is None:
                return await self.handler(visit)
            visit.form = await self._form(visit)
            _refuse_foreign(visit, is_stranger=self.needs is None)
            return await self._on_record(visit)
        except Gone:
            return Response(status_code=400)
        except (NotRead, OrderflowError) as error:
            return sorry(visit, error)

    async def _form(self, visit: Visit) -> Fields:
        if not self.takes_file or _kind(visit.request) != "multipart/form-data":
            return await _of_body(visit)
        visit.upload = FormWithFile(visit.request)
        try:
            async with asyncio.timeout(SLOW_AFTER_S):
                return Fields(await visit.upload.pairs())
        except (TimeoutError, ClientDisconnect) as error:
            raise NotRead(408, "slow", "the form did not arrive in time") from error

    def _not_admitted(self, visit: Visit) -> Response | None:
        if self.needs is None:
            return None
        if visit.session is None:
            return self._not_logged_in(visit)
        if self.needs not in RIGHTS[visit.session.role]:
            logger.warning("%s may not: %s %s", visit.session.name, self.method, self.path)
            return sorry(visit, Forbidden(f"{visit.session.role} {self.needs}"))
        if visit.session.must_change and not self.while_must_change:
            return visit.go("/password")
        return None

    def _not_logged_in(self, visit: Visit) -> Response:
        request = visit.request
        if "hx-request" in request.headers or "text/event-stream" in request.headers.get(
            "accept", ""
        ):
            return Response(status_code=401, headers={"hx-redirect": "/sign-in"})
        if self.did is not None:
            return visit.show("expired.html", 401)
        return visit.go("/sign-in", to=visit.here)

    async def _on_record(self, visit: Visit) -> Response:
        """Do what the form asks; nothing is done that could not be put on record before."""
        if self.needs is None:
            return await self.handler(visit)  # it says itself who that was
        accounts, name, form = visit.house.accounts, visit.known.name, visit.form
        about = " ".join(text for field in self.about for text in form.all(field))
        once = form.one("once")
        async with visit.on_record(
            self.did or "", about, form.one("reason"), once[:_TOKEN_LENGTH_MAX] or None
        ) as entry:
            if self.once and not await accounts.is_first(name, once, entry.number):
                raise Refused("sent_before")
            answer = await self.handler(visit)
            if answer.status_code >= 400:
                entry.outcome = "refused"
        return answer


async def _session(visit: Visit) -> Session | None:
    name = cookie_name(visit.house.settings, SESSION)
    token = visit.request.cookies.get(name, "")
    if not 0 < len(token) <= _TOKEN_LENGTH_MAX:
        return None
    return await visit.house.accounts.session(token)


def _of_address(visit: Visit) -> Fields:
    pairs = visit.request.query_params.multi_items()
    if any(len(value) > VALUE_LENGTH_MAX for _, value in pairs):
        raise Rejected("too_long")
    return Fields(
        [(name, visit.believed(value) if name == DONE else value) for name, value in pairs]
    )


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _of_body(visit: Visit) -> Fields:
    request, reader = visit.request, visit.house.reader
    if _kind(request) != "application/x-www-form-urlencoded":
        raise Rejected("not_a_form")
    body = await reader.body(Headers(request.scope["headers"]), request.receive)
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict",
            max_num_fields=FIELDS_MAX,
        )  # fmt: skip
    except ValueError as error:
        raise Rejected("not_a_form") from error
    finally:
        reader.done(body)
    return Fields(pairs)


class Stale(Rejected):
    """The form is not from a page of this session."""


def _refuse_foreign(visit: Visit, *, is_stranger: bool) -> None:
    """Raise Stale for a form of another site, or of another session."""
    headers = visit.request.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in _OURS:
        raise Stale
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        raise Stale
    if is_stranger:
        known = visit.request.cookies.get(cookie_name(visit.house.settings, STRANGER), "")
    else:
        known = visit.known.csrf
    said = visit.form.one("csrf").encode()
    if not said or not hmac.compare_digest(said, known.encode()):
        raise Stale


# --- what cannot be answered ----------------------------------------------------------------------

#: Kind of error -> status, title's term, outcome on record. The first that fits counts.
_SORRY: tuple[tuple[type[OrderflowError], int, str, str], ...] = (
    (Stale, 403, "sorry_stale", "stale form"),
    (TooManyAttempts, 429, "sorry_attempts", "too many attempts"),
    (NotFound, 404, "sorry_not_found", "not found"),
    (Refused, 409, "sorry_refused", "refused"),
    (Forbidden, 403, "sorry_forbidden", "forbidden"),
    (Rejected, 400, "sorry_rejected", "rejected"),
    (Unavailable, 503, "sorry_away", "away"),
    (Misconfigured, 503, "sorry_away", "away"),
)
_NOT_READ: Mapping[int, str] = {413: "sorry_too_large", 408: "sorry_slow", 503: "sorry_away"}
#: These say how the house is built, which is for the log.
_UNTOLD = (Unavailable, Misconfigured, Stale, Forbidden)


def _outcome_of(error: Exception) -> str:
    return next((word for kind, _, _, word in _SORRY if isinstance(error, kind)), "rejected")


def sorry(visit: Visit, error: Exception) -> Response:
    """Return the page that says why there is no other; nothing was changed."""
    if isinstance(error, NotRead):
        answer = _sorry(visit, error.status, _NOT_READ.get(error.status, "sorry_rejected"), "")
        answer.headers["connection"] = "close"
        return answer
    status, title = next(
        ((code, term) for kind, code, term, _ in _SORRY if isinstance(error, kind)),
        (500, "sorry_bug"),
    )
    if status >= 500:
        logger.warning("a page is not shown: %s", error)
    is_told = isinstance(error, OrderflowError) and not isinstance(error, _UNTOLD)
    said = str(error) if is_told else ""
    answer = _sorry(visit, status, title, said)
    if status in (429, 503):
        answer.headers["retry-after"] = "60" if status == 429 else "2"
    return answer


def _sorry(visit: Visit, status: int, title: str, said: str) -> Response:
    if said in TERMS:
        said = visit.say(said)
    # What a part of the house says that has no words in Chinese is told all the same.
    in_english = said.isascii() and visit.language == LANGUAGES[0]
    return visit.show("sorry.html", status, title=title, said=said, in_english=in_english)


def link(path: str, **asked: Any) -> str:
    """Return an address with what is asked; nothing is left out that is there."""
    found = {name: str(value) for name, value in asked.items() if value not in (None, "")}
    return f"{path}?{urlencode(found, quote_via=quote)}" if found else path
