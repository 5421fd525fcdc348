"""
One operation of the API: a Starlette route that says who may ask, what, and what is answered.

A package that has operations keeps a table of them in its `pages.py` and is named in
`streams/people/web.py`. A handler is `async def handler(request, asked)`: `request.user` is the
`Operator`, `house_of(request)` the parts, `asked` the query or the body, already read.

Promises: nobody without the right gets as far as a handler; what is asked is read strictly, and a
field nobody knows is refused; whatever changes something has a reason, or it cannot be declared.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, NamedTuple, get_origin

import msgspec
from msgspec import Meta, Struct
from starlette.authentication import BaseUser
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from schemas.errors import Misconfigured, OrderflowError, Rejected, Unavailable
from streams.gateway.requests import Gone, Headers, Reader
from streams.gateway.requests import Refused as NotRead
from streams.operations.rights import RIGHTS, Right, Role
from streams.settings import Settings

logger = logging.getLogger(__name__)

#: A request that comes slower is cut off.
SLOW_AFTER_S = 10.0
#: When to ask again after a 503, s.
RETRY_AFTER_S = 2


class Operator(BaseUser):
    """Whoever asks: `request.user`."""

    def __init__(self, name: str, role: Role) -> None:
        self.name = name
        self.role = role

    @property
    def is_authenticated(self) -> bool:
        """An operator always is; whoever is not is Starlette's UnauthenticatedUser."""
        return True

    @property
    def display_name(self) -> str:
        """The name that stands in every trail."""
        return self.name

    def may(self, right: Right) -> bool:
        """Say whether this operator's role has *right*."""
        return right in RIGHTS[self.role]


class House(NamedTuple):
    """What handlers work with: `request.app.state.house`."""

    settings: Settings
    #: PostgreSQL as the role for operations.
    dsn: str
    reader: Reader


def house_of(request: Request) -> House:
    """Return what a handler works with."""
    house: House = request.app.state.house
    return house


Text = Annotated[str, Meta(min_length=1, max_length=1_000, pattern=r"\S")]


class Change(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every change says; it stays in the trail beside the operator's name."""

    reason: Text


class NotFound(OrderflowError):  # noqa: N818  an answer
    """There is no such thing."""


class Refused(OrderflowError):  # noqa: N818  an answer
    """It cannot be done as things stand; nothing was changed."""


class Forbidden(OrderflowError):  # noqa: N818  an answer
    """The operator's role does not have the right."""


Handler = Callable[[Request, Any], Awaitable[Any]]


class Operation(Route):
    """A route with what it needs and says."""

    def __init__(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        needs: Right,
        summary: str,
        query: type[Struct] | None = None,
        body: type[Change] | None = None,
        takes_file: bool = False,
        begins: bool = False,
        gives_file: bool = False,
    ) -> None:
        asked = body or query
        if method != "GET" and not (asked and issubclass(asked, Change)):
            raise AssertionError(f"{method} {path} changes something without a reason")
        if body is not None and query is not None:
            raise AssertionError(f"{method} {path} asks in two places")
        self.method, self.needs, self.summary = method, needs, summary
        self.query, self.body, self.handler = query, body, handler
        #: The handler reads the body itself, piece by piece.
        self.takes_file = takes_file
        #: The answer says what was begun, and where to ask how far it is.
        self.begins = begins
        #: The answer is a CSV file.
        self.gives_file = gives_file
        super().__init__(path, self._answered, methods=[method], name=handler.__name__)

    async def _answered(self, request: Request) -> Response:
        response = await self._answer(request)
        if self.takes_file and response.status_code >= 400:
            # The rest of a file that was not read cannot be told from a next request.
            response.headers["connection"] = "close"
        return response

    async def _answer(self, request: Request) -> Response:
        try:
            self._admit(request)
            answer = await self.handler(request, await self._asked(request))
        except NotRead as error:
            return no(error.status, error.sentence)
        except Gone:
            return Response(status_code=400)
        except OrderflowError as error:
            return _no_of(error)
        return answer if isinstance(answer, Response) else said(answer)

    def _admit(self, request: Request) -> None:
        if not isinstance(request.user, Operator):
            raise NotRead(401, "unknown", "say who you are: Authorization: Bearer KEY", _CHALLENGE)
        require(request, self.needs)

    async def _asked(self, request: Request) -> Any:
        if self.query is not None:
            return _of_query(request, self.query)
        if request.query_params:
            raise Rejected("There is nothing to be asked in the address here.")
        if self.body is None:
            return None
        reader: Reader = house_of(request).reader
        body = await reader.body(Headers(request.scope["headers"]), request.receive)
        try:
            return msgspec.json.decode(body, type=self.body)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise Rejected(f"The body cannot be used: {error}.") from error
        finally:
            reader.done(body)


_CHALLENGE = (b"www-authenticate", b"Bearer")


def require(request: Request, right: Right) -> None:
    """Raise Forbidden unless the operator has *right*."""
    operator: Operator = request.user
    if not operator.may(right):
        raise Forbidden(f"The role {operator.role} may not do this; it takes the right {right}.")


def _of_query(request: Request, kind: type[Struct]) -> Any:
    fields = msgspec.structs.fields(kind)
    lists = {field.encode_name for field in fields if get_origin(field.type) is tuple}
    found: dict[str, Any] = {name: [] for name in lists}
    for name, value in request.query_params.multi_items():
        if name in lists:
            found[name].append(value)
        elif name in found:
            raise Rejected(f"{name[:40]!r} is asked for twice.")
        else:
            found[name] = value
    try:
        return msgspec.convert(found, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Rejected(f"The question cannot be answered: {error}.") from error


_STATUS: Mapping[type[OrderflowError], int] = {
    NotFound: 404,
    Refused: 409,
    Forbidden: 403,
    Rejected: 400,
    Unavailable: 503,
    Misconfigured: 503,
}


def _no_of(error: OrderflowError) -> Response:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    if status >= 500:
        logger.warning("a request is not answered: %s", error)
    return no(status, str(error))


def no(status: int, sentence: str) -> Response:
    """Return the answer that says no, and why."""
    answer = said({"error": sentence}, status)
    if status == 503:
        answer.headers["retry-after"] = str(RETRY_AFTER_S)
    if status == 401:
        answer.headers["www-authenticate"] = "Bearer"
    return answer


def said(value: Any, status: int = 200) -> Response:
    """Return *value* as the body of an answer; it is of the moment, and nobody's to keep."""
    return Response(
        msgspec.json.encode(value, enc_hook=_plain),
        status,
        {"cache-control": "no-store"},
        media_type="application/json",
    )


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return bytes(value).decode("utf-8", "replace")
    raise TypeError(f"{type(value).__name__} cannot be said in JSON")
