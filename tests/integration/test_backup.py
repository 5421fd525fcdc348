"""
PostgreSQL is lost and an older dump restored, by the commands of docs/backup.md.

The ledger reads on from the positions in the dump: the same tables as before, each event once (I8).
"""

import asyncio
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.installation import Installation, installation
from tests.integration.databases import ROLES, ROOT, Database

pytestmark = pytest.mark.stack


def told(name: str) -> str:
    """The block of commands that the document calls tested."""
    text = (ROOT / "docs" / "backup.md").read_text()
    (block,) = re.findall(rf"<!-- tested: {name} -->\n```sh\n(.*?)```", text, re.DOTALL)
    return str(block)


def obey(house: Installation, name: str) -> None:
    (programs,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:] or [Path("/usr/bin")]
    path = f"{ROOT / '.venv' / 'bin'}:{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", told(name)],
        env=house.env | {"PATH": path, "BACKUP": str(house.folder / "night.dump")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


async def lose(database: Database) -> None:
    """The server is another one, and empty."""
    admin = await asyncpg.connect(urlsplit(database.owner)._replace(path="/postgres").geturl())
    try:
        await admin.execute(f"DROP DATABASE {database.name} WITH (FORCE)")
        await admin.execute(f"CREATE DATABASE {database.name}")
    finally:
        await admin.close()


def feed(house: Installation, seed: int) -> None:
    house.orderflow("feed", "--generate", "40", "--seed", str(seed), "--receive", "--cancel", "20%")


async def test_a_lost_database_is_restored_and_the_ledger_makes_up_for_the_rest(
    tmp_path: Path,
) -> None:
    async with installation(tmp_path) as house:
        addresses = {role: house.env[f"ORDERFLOW_POSTGRES_{role.upper()}"] for role in ROLES}
        database = Database(urlsplit(addresses["owner"]).path[1:], **addresses)
        with house.running("intake,orders,stock"):
            with house.running("ledger"):
                await asyncio.to_thread(feed, house, 1)
                assert (await asyncio.to_thread(house.at_rest))["ok"]
                obey(house, "dump")
                at_night = await database.value("SELECT count(*) FROM orders")
                await asyncio.to_thread(feed, house, 2)
                assert (await asyncio.to_thread(house.at_rest))["ok"]
                before = await database.dump()
            await lose(database)
            obey(house, "restore")
            assert (
                await database.value("SELECT count(*) FROM orders")
                == at_night
                < len(before["orders"])
            )

            with house.running("ledger"):
                verdict = await asyncio.to_thread(house.at_rest)
                assert verdict["ok"], verdict
                assert await database.dump() == before
                house.orderflow("ledger", "verify")

            # And without any dump: the topics alone say the same.
            await lose(database)
            house.orderflow("migrate")
            with house.running("ledger"):
                verdict = await asyncio.to_thread(house.at_rest)
                assert verdict["ok"], verdict
                assert await database.dump() == before
