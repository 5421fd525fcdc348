"""
How Alembic reaches the database. Promises one runner at a time, whoever starts it.

Online it uses asyncpg through SQLAlchemy and takes an advisory lock in the migration's own
transaction; offline (`--sql`) it prints the SQL and needs no driver. `streams.postgres.schema`
hands over the DSN as an attribute, so that no secret passes through a configuration file.
"""

import asyncio

from alembic import context
from sqlalchemy import Connection, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

#: Any number, the same for every runner of this product.
LOCK = 0x6F72646572666C6F

ATTRIBUTES = context.config.attributes


def run_offline() -> None:
    context.configure(dialect_name="postgresql", output_buffer=ATTRIBUTES.get("output"))
    with context.begin_transaction():
        context.run_migrations()


def run_on(connection: Connection) -> None:
    applied = ATTRIBUTES.get("applied", [])
    context.configure(
        connection=connection,
        on_version_apply=lambda step, **_: applied.append(step.up_revision_id),
    )
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()


async def run_online() -> None:
    url = make_url(ATTRIBUTES["dsn"]).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run_on)
    finally:
        await engine.dispose()


if context.is_offline_mode():
    run_offline()
else:
    asyncio.run(run_online())
