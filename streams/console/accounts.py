"""
Who may log in: users, passwords, sessions; and the record of what they did.

Promises: neither a password nor a session's token can be read back from what is kept. A wrong name
costs as much time as a wrong password and is told in the same words. Attempts are counted before
they are looked at, so that many at once are counted too. A user whose role, password or right to be
here changes is logged out everywhere.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from types import TracebackType
from typing import Any, NamedTuple, Self

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from schemas.errors import OrderflowError, Rejected
from streams.masking import masked
from streams.operations.rights import Role
from streams.postgres.connecting import CONNECT_SECONDS, pool, told
from streams.postgres.queries import sql

Row = dict[str, Any]

NAME_LENGTH_MAX = 100
PASSWORD_LENGTH_MIN = 12
PASSWORD_LENGTH_MAX = 200
#: Log-ins that may fail within `ATTEMPTS_WITHIN` with one name, and from one address.
ATTEMPTS_OF_NAME_MAX = 5
ATTEMPTS_OF_ADDRESS_MAX = 50
ATTEMPTS_WITHIN = timedelta(minutes=15)
#: A session's last use is written at most so often.
SEEN_EVERY = timedelta(minutes=1)
#: Passwords are looked at so many at a time: each takes 64 MiB and a core.
_AT_ONCE = 2
#: A longer text is cut in the record.
_SAID_LENGTH_MAX = 2_000
_COMMAND_LENGTH_MAX = 100
#: Of one person's actions so many are looked through for one of the same form.
LOOKED_BACK_MAX = 1_000
_POOL_MAX = 8
_STATEMENT_S = 10.0
_FIRST = "admin"
#: Letters and digits that nobody mistakes for each other.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP = 4, 5
_MUST_CHANGE = True
_IS_OUT = True


class TooManyAttempts(OrderflowError):  # noqa: N818  an answer
    """Too many log-ins failed; they are not looked at for a while."""


class LastAdmin(OrderflowError):  # noqa: N818  an answer
    """Nobody else is an admin: make another one first."""


class WeakPassword(Rejected):
    """The password is too easy to guess, or too long."""


class Session(NamedTuple):
    """Somebody who is logged in."""

    id: bytes
    name: str
    role: Role
    csrf: str
    must_change: bool


class Person(NamedTuple):
    """Somebody who may log in, or might once."""

    name: str
    role: str
    #: Its hash.
    password: str
    must_change: bool
    disabled_at: datetime | None


class Lasting(NamedTuple):
    """How long a session lasts: from its log-in, and from its last use."""

    from_start: timedelta
    from_use: timedelta


@cache
def _hasher() -> PasswordHasher:
    """Argon2id with the library's parameters, which are those of RFC 9106 for little memory."""
    return PasswordHasher()


@cache
def _nobodys() -> str:
    """What the password of a name nobody has is compared with."""
    return _hasher().hash(secrets.token_hex(16))


def one_time_password() -> str:
    """Return a password that can be read out: about 99 bits."""
    return "-".join(
        "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS)
    )


def check_password(name: str, password: str) -> None:
    """Raise WeakPassword unless *password* may be the one of *name*."""
    if not PASSWORD_LENGTH_MIN <= len(password) <= PASSWORD_LENGTH_MAX:
        raise WeakPassword("password_length")
    if name.casefold() in password.casefold() or len(set(password)) < 5:
        raise WeakPassword("password_weak")


def check_name(name: str) -> None:
    """Raise Rejected unless somebody may be called *name*."""
    if name != name.strip() or not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise Rejected(f"A user's name has 1 to {NAME_LENGTH_MAX} characters that can be seen.")


class Accounts:
    """Everything the console writes itself: `async with Accounts(dsn, lasting) as accounts`."""

    def __init__(self, dsn: str, lasting: Lasting) -> None:
        self._dsn = dsn
        self._lasting = lasting
        self._pool: Any = None
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Self:
        self._pool = await pool(
            self._dsn, name="orderflow-console", at_most=_POOL_MAX, answers_within_s=_STATEMENT_S,
            tried=True,
        )  # fmt: skip
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.terminate()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        try:
            async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
                yield connection
        except Exception as error:
            raise told(error) from error

    # --- users ------------------------------------------------------------------------------------

    async def listed(self, begin: str = "", limit: int | None = None) -> list[Row]:
        """Return everybody by name from *begin* on, at most *limit*, without the passwords."""
        async with self._connected() as connection:
            rows = await connection.fetch(sql("console_users_listed"), begin, limit)
            return [dict(row) for row in rows]

    async def first(self) -> tuple[str, str] | None:
        """Make the first user of an empty house; return name and password, told this once."""
        password = one_time_password()
        hash_ = await self._hashed(password)
        async with self._connected() as connection:
            done = await connection.execute(
                sql("make_first_console_user"), _FIRST, Role.ADMIN.value, hash_, "orderflow console"
            )
        return None if done.endswith(" 0") else (_FIRST, password)

    async def add(self, name: str, role: Role, by: str) -> str | None:
        """Make a user; return a one-time password; None: there is one of that name."""
        check_name(name)
        password = one_time_password()
        hash_ = await self._hashed(password)
        async with self._connected() as connection:
            done = await connection.execute(
                sql("make_console_user"), name, role.value, hash_, _MUST_CHANGE, by
            )
        return None if done.endswith(" 0") else password

    async def reset(self, name: str, by: str) -> str | None:
        """Give a user a one-time password and return it; None: there is nobody of that name."""
        password = one_time_password()
        hash_ = await self._hashed(password)
        done = await self._change(name, sql("set_console_password"), name, hash_, _MUST_CHANGE, by)
        return password if done else None

    async def disable(self, name: str, by: str) -> bool:
        """
        Let a user log in no more; False: there is nobody of that name.

        Raises LastAdmin for the only one there is.
        """
        values = (name, None, _IS_OUT, by)
        return await self._change(name, sql("set_console_role"), *values, keeps_admin=False)

    async def enable(self, name: str, by: str) -> bool:
        """Let a user who was disabled log in again; False: there is nobody of that name."""
        return await self._change(name, sql("set_console_role"), name, None, not _IS_OUT, by)

    async def give(self, name: str, role: Role, by: str) -> bool:
        """
        Give a user another role, also one who was disabled; False: nobody of that name.

        Raises LastAdmin where nobody would be an admin then.
        """
        values = (name, role.value, not _IS_OUT, by)
        keeps = role is Role.ADMIN
        return await self._change(name, sql("set_console_role"), *values, keeps_admin=keeps)

    async def _change(
        self, name: str, statement: str, *values: Any, keeps_admin: bool = True
    ) -> bool:
        async with self._connected() as connection, connection.transaction():
            if not keeps_admin:
                admins = await connection.fetch(sql("lock_console_admins"))
                if [row["name"] for row in admins] == [name]:
                    raise LastAdmin
            done: str = await connection.execute(statement, *values)
            await connection.execute(sql("end_console_sessions"), name, None)
            await connection.execute(sql("forget_console_attempts"), _hash(name))
            return not done.endswith(" 0")

    # --- logging in and out -----------------------------------------------------------------------

    async def attempt(self, name: str, address: str) -> Person | None:
        """
        Count a log-in that is about to be tried, and return whoever has that name.

        Raises TooManyAttempts, and then keeps nothing: who goes on trying fills no table.
        """
        who, where = _hash(name), _hash(address)
        async with self._connected() as connection:
            await _refuse_many(connection, who, where, others=0)
            await connection.execute(sql("note_console_attempt"), who, where)
            # Those who try at once have not seen each other before.
            await _refuse_many(connection, who, where, others=1)
            row = await connection.fetchrow(sql("console_user"), name)
        return None if row is None else Person(**row)

    async def log_in(self, person: Person | None, password: str) -> tuple[str, Session] | None:
        """Return a new session and its token; None where *person*'s password is not this one."""
        right = await self._verify(person.password if person else _nobodys(), password)
        if not right or person is None or person.disabled_at is not None:
            return None
        token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
        async with self._connected() as connection, connection.transaction():
            done: str = await connection.execute(
                sql("begin_console_session"), _hash(token), person.name, csrf, person.password
            )
            if done.endswith(" 0"):
                return None
            await connection.execute(sql("forget_console_attempts"), _hash(person.name))
        role = Role(person.role)
        return token, Session(_hash(token), person.name, role, csrf, person.must_change)

    async def session(self, token: str) -> Session | None:
        """Return whose *token* it is; None where it is nobody's, or counts no more."""
        id_ = _hash(token)
        async with self._connected() as connection:
            row = await connection.fetchrow(sql("console_session"), id_, *self._lasting)
            if row is None or row["role"] not in set(Role):
                return None
            if datetime.now(row["seen_at"].tzinfo) - row["seen_at"] > SEEN_EVERY:
                await connection.execute(sql("see_console_session"), id_)
        return Session(id_, row["name"], Role(row["role"]), row["csrf"], row["must_change"])

    async def log_out(self, session: Session, *, everywhere: bool) -> None:
        """End this session, or all of this user's."""
        async with self._connected() as connection:
            if everywhere:
                await connection.execute(sql("end_console_sessions"), session.name, None)
            else:
                await connection.execute(sql("end_console_session"), session.id)

    async def change_password(self, session: Session, old: str, new: str, address: str) -> bool:
        """Change one's own password, and log out everywhere else; False: *old* is not the one."""
        check_password(session.name, new)
        person = await self.attempt(session.name, address)
        if person is None or not await self._verify(person.password, old):
            return False
        if old == new:
            raise WeakPassword("password_same")
        hash_ = await self._hashed(new)
        async with self._connected() as connection, connection.transaction():
            done: str = await connection.execute(
                sql("swap_console_password"), session.name, person.password, hash_
            )
            await connection.execute(sql("end_console_sessions"), session.name, session.id)
            await connection.execute(sql("forget_console_attempts"), _hash(session.name))
            return not done.endswith(" 0")

    async def sweep(self) -> None:
        """Forget sessions and attempts that count no more."""
        async with self._connected() as connection:
            await connection.execute(sql("sweep_console"), *self._lasting, ATTEMPTS_WITHIN)

    async def _verify(self, known: str, password: str) -> bool:
        async with self._turns:
            return await asyncio.to_thread(_verified, known, password)

    async def _hashed(self, password: str) -> str:
        async with self._turns:
            return await asyncio.to_thread(_hasher().hash, password)

    # --- the record -------------------------------------------------------------------------------

    async def begin(
        self,
        by: str,
        role: str | None,
        address: str,
        did: str,
        about: str = "",
        why: str = "",
        command: str | None = None,
    ) -> int:
        """Put on record what somebody is about to do; return its number."""
        values = [_kept(each) for each in (by, role, address, did, about, why, command)]
        async with self._connected() as connection:
            number: int = await connection.fetchval(sql("note_console_action"), *values)
            return number

    async def is_first(self, by: str, command: str, number: int) -> bool:
        """
        Say whether action *number* is the first of its form that was not refused.

        Raises Rejected where the form has no id, or none of a form.
        """
        if not 0 < len(command) <= _COMMAND_LENGTH_MAX:
            raise Rejected("not_a_form")
        async with self._connected() as connection:
            first: bool = await connection.fetchval(
                sql("console_action_is_first"), by, number, command, LOOKED_BACK_MAX
            )
            return first

    async def end(self, number: int, outcome: str, said: str = "") -> None:
        """Put on record what came of it."""
        async with self._connected() as connection:
            await connection.execute(
                sql("note_console_outcome"), number, outcome, _kept(masked(said))
            )

    async def actions(self, before: int | None, by: str | None, limit: int) -> list[Row]:
        """Return a page of the record, latest first."""
        async with self._connected() as connection:
            rows = await connection.fetch(sql("console_actions"), before, by, limit)
            return [dict(row) for row in rows]


async def _refuse_many(connection: Any, who: bytes, where: bytes, *, others: int) -> None:
    """Raise TooManyAttempts where as many were counted as may be, *others* of them this one."""
    tried = await connection.fetchrow(sql("count_console_attempts"), who, where, ATTEMPTS_WITHIN)
    if (
        tried["of_name"] >= ATTEMPTS_OF_NAME_MAX + others
        or tried["of_address"] >= ATTEMPTS_OF_ADDRESS_MAX + others
    ):
        raise TooManyAttempts


def _kept(text: str | None) -> str | None:
    """Return *text* as PostgreSQL can keep it."""
    return text and text[:_SAID_LENGTH_MAX].replace("\0", "�")


def _verified(known: str, password: str) -> bool:
    try:
        return _hasher().verify(known, password)
    except (VerificationError, InvalidHashError):
        return False


def _hash(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()
