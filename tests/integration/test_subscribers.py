"""Subscribers over HTTP with every role, and at the command line, on the real PostgreSQL."""

# ruff: noqa: F811  a fixture that is imported has the name of the argument that asks for it

import asyncio
import json
import subprocess
import sys
from typing import Any

import orjson
import pytest

from streams.operations import keys
from streams.operations.rights import RIGHTS, Right, Role
from tests.integration.at_the_gate import stack_settings
from tests.integration.databases import ROOT, Database, database, empty  # noqa: F401
from tests.integration.receiving import HAPPENS_WITHIN_S, receiver, sending, told, until
from tests.integration.receiving import an_event as event
from tests.integration.test_alert_sources import Asked

pytestmark = pytest.mark.stack

URL = "http://127.0.0.1:9/hooks?token=hunter2"
NEW = {"name": "wms", "url": URL, "types": ["order.reserved"], "reason": "new warehouse"}


def a_body(**said: Any) -> bytes:
    return orjson.dumps(said)


async def asked_as(database: Database, role: Role, *, loopback: bool = True) -> Asked:
    made = await keys.make(database.owner, f"{role}-{loopback}", role, "root", "a test")
    ask = Asked(stack_settings("", callbacks_loopback=loopback), database)
    ask.key = made.key
    return ask


async def test_only_admins_say_who_is_told_and_everybody_who_may_look_sees_it(database: Database):
    assert [role for role in Role if Right.SUBSCRIBERS in RIGHTS[role]] == [Role.ADMIN]
    admin = await asked_as(database, Role.ADMIN)
    status, made = await admin("POST", "/v1/subscribers", orjson.dumps(NEW))
    assert status == 200
    assert made["secret"].startswith("whsec_")
    one = f"/v1/subscribers/{made['id']}"
    changes = ["pause", "resume", "rotate", "test", "remove"]

    for role in set(Role) - {Role.ADMIN}:
        ask = await asked_as(database, role)
        new = orjson.dumps({**NEW, "name": role.value})
        assert (await ask("POST", "/v1/subscribers", new))[0] == 403, role
        for change in changes:
            assert (await ask("POST", f"{one}/{change}", a_body(reason="x")))[0] == 403, role
        for path in ("/v1/subscribers", one, f"{one}/deliveries", "/v1/subscribers/wms"):
            status, said = await ask("GET", path)
            assert status == 200, (role, path)
            assert "hunter2" not in repr(said)
            assert "whsec_" not in repr(said)
    nobody = Asked(stack_settings(""), database)
    for method, path in (("GET", "/v1/subscribers"), ("POST", "/v1/subscribers")):
        assert (await nobody(method, path, orjson.dumps(NEW) * (method == "POST")))[0] == 401

    # Every change is in the trail with the name of whoever is signed in.
    for change in changes:
        status, said = await admin("POST", f"{one}/{change}", a_body(reason=f"to {change}"))
        assert status == 200, (change, said)
    _, shown = await admin("GET", one)
    assert [(each["did"], each["by"], each["why"]) for each in shown["changes"]] == [
        ("added", "admin-True", "new warehouse"), ("paused", "admin-True", "to pause"),
        ("resumed", "admin-True", "to resume"), ("rotated", "admin-True", "to rotate"),
        ("tested", "admin-True", "to test"), ("removed", "admin-True", "to remove"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"url": "https://192.168.1.7/hooks"}, "192.168.1.7 is a private address"),
        ({"url": "http://127.0.0.1:8080/"}, "https:// alone"),
        ({"url": "https://169.254.169.254/latest"}, "private address"),
        ({"url": "https://user:x@shop.example.org/"}, "no user"),
        ({"url": "https://does-not-exist.invalid/"}, "That name is private"),
        ({"types": ["order.eaten"]}, "There is no event 'order.eaten'"),
        ({"shops": ["mars"]}, "A shop is PLATFORM or PLATFORM:SHOP"),
        ({"name": " "}, "A name has"),
        ({"name": "a\nb"}, "A name has"),
        ({"at_once": 0}, "at_once"),
        ({"reason": " "}, "reason"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
async def test_what_cannot_be_a_subscriber_is_refused_in_one_sentence(
    database: Database, change: dict[str, Any], says: str
):
    ask = await asked_as(database, Role.ADMIN, loopback=False)
    new = {"name": "wms", "url": "https://8.8.8.8/hooks", "reason": "x"}

    status, said = await ask("POST", "/v1/subscribers", orjson.dumps({**new, **change}))

    assert (status, says in said["error"]) == (400, True), said
    assert await database.rows("SELECT * FROM subscribers") == []


async def test_what_is_not_there_or_stands_otherwise_is_told(database: Database):
    ask = await asked_as(database, Role.ADMIN)
    assert (await ask("GET", "/v1/subscribers/nobody"))[0] == 404
    assert (await ask("GET", "/v1/subscribers/nobody/deliveries"))[0] == 404
    assert (await ask("POST", "/v1/subscribers/nobody/pause", a_body(reason="x")))[0] == 404
    await ask("POST", "/v1/subscribers", orjson.dumps(NEW))
    assert (await ask("POST", "/v1/subscribers", orjson.dumps(NEW)))[0] == 409
    assert (await ask("POST", "/v1/subscribers/wms/resume", a_body(reason="x")))[0] == 409
    assert (await ask("GET", "/v1/subscribers/wms/deliveries?state=lost"))[0] == 400
    await ask("POST", "/v1/subscribers/wms/pause", a_body(reason="x"))
    assert (await ask("POST", "/v1/subscribers/wms/test", a_body(reason="x")))[0] == 409


async def test_the_log_goes_on_page_by_page(database: Database):
    ask = await asked_as(database, Role.ADMIN)
    await ask("POST", "/v1/subscribers", orjson.dumps(NEW))
    await told(database, *(event(f"jd:a:{number}", 1) for number in range(7)))

    _, first = await ask("GET", "/v1/subscribers/wms/deliveries?limit=4")
    last = first["deliveries"][-1]["id"]
    _, second = await ask("GET", f"/v1/subscribers/wms/deliveries?limit=4&before={last}")
    _, none = await ask("GET", "/v1/subscribers/wms/deliveries?state=delivered")

    lanes = [each["lane"] for page in (first, second) for each in page["deliveries"]]
    assert lanes == [f"jd:a:{number}" for number in reversed(range(7))]
    assert none["deliveries"] == []


# --- at the command line --------------------------------------------------------------------------


async def orderflow(
    database: Database, *arguments: str, loopback: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Run `orderflow subscribers …` while a subscriber here answers."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "streams.cli", "subscribers", *arguments],
        env={
            "PATH": "/usr/bin:/bin",
            "ORDERFLOW_KAFKA": "127.0.0.1:1",
            "ORDERFLOW_POSTGRES_READER": database.reader,
            "ORDERFLOW_POSTGRES_OPERATIONS": database.operations,
            "ORDERFLOW_CALLBACKS_LOOPBACK": str(loopback),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HAPPENS_WITHIN_S,
        check=False,
    )


async def answered(database: Database, *arguments: str, code: int = 0) -> Any:
    done = await orderflow(database, *arguments, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    return json.loads(done.stdout)


async def test_a_person_adds_tries_changes_and_removes_a_subscriber(database: Database):
    why = ("--reason", "a test", "--operator", "mei")
    async with receiver() as there:
        made = await answered(database, "add", "wms", "--url", there.url, "--shop", "jd", *why)
        assert made["secret"].startswith("whsec_")
        async with sending(database):
            tried = await answered(database, "test", "wms", *why)
            assert (tried["ok"], tried["tried"]["status"]) == (True, 204)
            there.answer = lambda *_: 401
            refused = await answered(database, "test", "wms", *why, code=1)
            assert (refused["ok"], refused["tried"]["status"]) == (False, 401)
        assert (await answered(database, "pause", "wms", *why))["id"] == made["id"]
        again = await orderflow(database, "pause", "wms", *why)
        assert (again.returncode, "cannot be paused" in again.stderr) == (1, True)
        await answered(database, "resume", "wms", *why)
        rotated = await answered(database, "rotate", "wms", *why)
        assert rotated["secret"] != made["secret"]
        nobody = await orderflow(database, "show", "nobody")
        assert (nobody.returncode, "There is no subscriber" in nobody.stderr) == (1, True)

        log = await orderflow(database, "deliveries", "wms")
        listed = await orderflow(database, "list")
        shown = await orderflow(database, "show", "wms")
        for each in (log, listed, shown):
            assert each.returncode == 0, each.stderr
            assert "whsec_" not in each.stdout + each.stderr
        assert "HTTP 401" in log.stdout
        assert "wms" in listed.stdout
        assert "mei: a test" in shown.stdout
        await answered(database, "remove", "wms", *why)
        assert (await answered(database, "list"))["subscribers"] == []
        assert len((await answered(database, "list", "--removed"))["subscribers"]) == 1


async def test_a_private_address_is_bad_input_and_nothing_waits_for_nobody(database: Database):
    add = ("add", "wms", "--reason", "x", "--operator", "mei", "--url")
    for url in ("https://10.1.2.3/hooks", "http://127.0.0.1:80/", "https://localhost/"):
        done = await orderflow(database, *add, url, loopback=False)
        assert done.returncode == 2, done.stderr
        assert "nothing is sent there" in done.stderr or "https:// alone" in done.stderr
        assert "Traceback" not in done.stderr

    async with receiver() as there:
        assert (await orderflow(database, *add, there.url)).returncode == 0
        late = await orderflow(
            database, "test", "wms", "--reason", "x", "--operator", "mei", "--timeout", "0.5"
        )
        assert (late.returncode, "does `orderflow callbacks run` run?" in late.stderr) == (1, True)
        # It is sent when somebody sends.
        async with sending(database):
            await until(lambda: len(there.ids()) == 1)
