"""
The stage: one installation per run of the demo or of chaos, beside whatever else is on the stack.

Topics get a prefix and PostgreSQL a database, both named by the time. The last one of a play is
kept to look around in; those before it are removed, unless somebody is connected to them.
"""

import asyncio
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from pydantic import SecretStr

from schemas.errors import LedgerUnavailable, Misconfigured, Unavailable
from schemas.reference import Written
from streams import reference
from streams.engine import admin
from streams.postgres import schema
from streams.postgres.connecting import connect
from streams.settings import Settings, load

logger = logging.getLogger(__name__)

#: What is played: it names topics and database.
Play = Literal["demo", "chaos"]
#: Enough for two workers on two cores.
PARTITIONS = 4
_PREFIX = re.compile(r"(?:demo|chaos)-\d{14}-")
_OBJECT_IN_USE = "55006"
#: PostgreSQL notices that a worker was killed as soon as it wants to tell it something.
_LEFT_WITHIN_S, _LEFT_ASKED_EVERY_S = 10.0, 0.5
#: A broker that has just come back forgets its topics as soon as it knows them again.
_TOPICS_GONE_WITHIN_S, _TOPICS_ASKED_EVERY_S = 60.0, 0.5
#: Who connects to PostgreSQL, and whom its workers cannot do without.
_ROLES = ("owner", "ledger", "reader", "poller", "operations", "callbacks", "console")
_NEEDED = ("owner", "ledger", "reader", "callbacks")


class Stage(NamedTuple):
    """A fresh installation."""

    play: Play
    settings: Settings
    #: What its processes find in their environment, beside ours.
    env: Mapping[str, str]
    prefix: str
    database: str

    def look_around(self) -> list[str]:
        """Return the shell lines by which a person may look at this installation afterwards."""
        # The password stays out of sight: only the name of the database is replaced.
        redirects = " ".join(
            f"ORDERFLOW_POSTGRES_{role}=${{ORDERFLOW_POSTGRES_{role}%/*}}/{self.database}"
            for role in (name.upper() for name in _ROLES)
            if f"ORDERFLOW_POSTGRES_{role}" in self.env
        )
        return [
            "make up",
            "set -a; . .local/stack.env",
            f"ORDERFLOW_TOPIC_PREFIX={self.prefix} ORDERFLOW_PARTITIONS={PARTITIONS}",
            redirects,
            "set +a",
        ]


def planned(around: Settings, play: Play) -> Stage:
    """Return how the next stage of *play* is called, and where it is; nothing is made yet."""
    given = _addresses(around)
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    prefix, database = f"{play}-{stamp}-", f"{_database(play)}{stamp}"
    dsns = {f"postgres_{name}": _elsewhere(dsn, database) for name, dsn in given.items()}
    secrets = {name: SecretStr(dsn) for name, dsn in dsns.items()}
    settings = load(topic_prefix=prefix, partitions=PARTITIONS, slot="", **secrets)
    env = {
        "ORDERFLOW_TOPIC_PREFIX": prefix,
        "ORDERFLOW_PARTITIONS": str(PARTITIONS),
        **{f"ORDERFLOW_{name.upper()}": dsn for name, dsn in dsns.items()},
    }
    return Stage(play, settings, env, prefix, database)


async def build(around: Settings, stage: Stage, entries: list[Written]) -> None:
    """
    Make *stage* ready: topics, database, reference data.

    Whoever is ended in the middle of it removes what is there by `remove`.
    """
    given = _addresses(around)
    await remove_earlier(around, stage.play)
    await _create_database(given["owner"], stage.database)
    roles = {name: schema.role_of(dsn) for name, dsn in given.items() if name != "owner"}
    await schema.migrate(stage.env["ORDERFLOW_POSTGRES_OWNER"], **roles)
    await admin.apply(stage.settings)
    await reference.apply(stage.settings, entries, prune=False)


async def remove(around: Settings, stage: Stage) -> None:
    """Remove *stage* again, unless somebody else looks at it; raises Unavailable."""
    owner = _addresses(around)["owner"]
    for _ in range(round(_LEFT_WITHIN_S / _LEFT_ASKED_EVERY_S)):
        if await _drop_database(owner, stage.database):
            await _delete_topics(around, stage.prefix)
            return
        await asyncio.sleep(_LEFT_ASKED_EVERY_S)
    logger.warning("%s is in use: it is kept, with the topics %s*", stage.database, stage.prefix)


async def remove_earlier(around: Settings, play: Play) -> None:
    """Remove the stages of *play* of before that nobody is connected to."""
    owner = _addresses(around)["owner"]
    connection = await connect(owner, name="orderflow-stage")
    try:
        rows = await connection.fetch("SELECT datname FROM pg_database")
    finally:
        await connection.close()
    name = re.compile(_database(play) + r"(\d{14})")
    stamps = [met[1] for row in rows if (met := name.fullmatch(row["datname"]))]
    for stamp in stamps:
        if await _drop_database(owner, f"{_database(play)}{stamp}"):
            await _delete_topics(around, f"{play}-{stamp}-")


def _database(play: Play) -> str:
    """Return how the databases of *play* begin."""
    return f"orderflow_{play}_"


def _addresses(settings: Settings) -> dict[str, str]:
    """Return the addresses that are set, by the role that connects with them."""
    secrets = {name: getattr(settings, f"postgres_{name}") for name in _ROLES}
    found = {name: secret.get_secret_value() for name, secret in secrets.items() if secret}
    if missing := [name for name in _NEEDED if name not in found]:
        variables = ", ".join(f"ORDERFLOW_POSTGRES_{name.upper()}" for name in missing)
        raise Misconfigured(f"Set {variables}, or run `make demo` or `make chaos`, which do.")
    return found


def _elsewhere(dsn: str, database: str) -> str:
    """Return *dsn* with another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


async def _create_database(owner: str, database: str) -> None:
    connection = await connect(owner, name="orderflow-stage")
    try:
        await connection.execute(f'CREATE DATABASE "{database}"')
    except asyncpg.InsufficientPrivilegeError as error:
        raise Misconfigured(
            "The owner role of PostgreSQL may not create databases; give it CREATEDB."
        ) from error
    finally:
        await connection.close()


async def _drop_database(owner: str, database: str) -> bool:
    """Drop *database*; False when somebody is connected to it."""
    connection = await connect(owner, name="orderflow-stage")
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{database}"')
    except asyncpg.PostgresError as error:
        if error.sqlstate == _OBJECT_IN_USE:
            return False
        raise LedgerUnavailable(f"{database} could not be dropped: {error}") from error
    finally:
        await connection.close()
    return True


async def _delete_topics(around: Settings, prefix: str) -> None:
    """
    Delete the topics of one stage; its groups have then nothing to remember and fade away.

    A broker that has just come back may not know of them yet, or drop what it is asked: they are
    gone when it says so twice. Raises Unavailable.
    """
    if not _PREFIX.fullmatch(prefix):
        raise AssertionError(f"{prefix!r} is no stage")
    client = AIOKafkaAdminClient(bootstrap_servers=around.kafka)
    await client.start()
    try:
        async with asyncio.timeout(_TOPICS_GONE_WITHIN_S):
            said_twice = 0
            while said_twice < 2:
                said_twice = 0 if await _asked_to_go(client, prefix) else said_twice + 1
                await asyncio.sleep(_TOPICS_ASKED_EVERY_S)
    except TimeoutError as error:
        raise Unavailable(
            f"Topics {prefix}* are still there after {_TOPICS_GONE_WITHIN_S:.0f} s: the next run "
            "removes them, or delete them by hand."
        ) from error
    finally:
        await client.close()


async def _asked_to_go(client: AIOKafkaAdminClient, prefix: str) -> bool:
    """Ask for every topic with *prefix* to be deleted; return whether there may be any."""
    try:
        topics = [name for name in await client.list_topics() if name.startswith(prefix)]
        if topics:
            await client.delete_topics(topics)
    except KafkaError as error:
        logger.warning("topics %s* could not be deleted yet: %r", prefix, error)
        return True
    return bool(topics)
