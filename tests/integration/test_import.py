"""
Emergency import on the real stack: every order once, however often it is killed, run and repeated.

One installation serves the first test from a dry run to the receipt; the second is about uploads.
"""

import asyncio
import csv
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from streams.importing.forecast import Existing
from streams.importing.planning import Reading
from streams.importing.running import begin, wish_of
from streams.operations import keys
from streams.operations.rights import Role
from tests.e2e.test_an_order_from_platform_to_ledger import eventually
from tests.installation import Installation, installation
from tests.integration.databases import ROOT
from tests.integration.test_operations import operations
from tests.integration.the_console import console

pytestmark = pytest.mark.stack

HEAD = ["order_id", "status", "created_at", "updated_at", "merchant_sku", "quantity"]
SHOP = ("--platform", "taobao", "--shop", "qingyou")
WHY = ("--reason", "webhooks down", "--operator", "mei")
#: Every place at which a job may die, and how often it is visited before.
PLACES = (
    "import-read:1",
    "import-planned:1",
    "import-sent:1",
    "import-marked:2",
    "import-settled:1",
)
ORDERS = 2_500
WITHIN_S = 120.0


def ago(**span: float) -> str:
    return (datetime.now(UTC) - timedelta(**span)).isoformat(timespec="seconds")


def write(file: Path, *rows: list[str]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as text:
        csv.writer(text).writerows([HEAD, *rows])
    return file


def paid(order: str, sku: str = "RUG", at: str = "", units: str = "1") -> list[str]:
    when = at or ago(hours=2)
    return [order, "PAID", when, when, sku, units]


def imported(house: Installation, file: Path, *more: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = house.answer("import", str(file), *SHOP, *WHY, *more, code=code)
    return found


def dies(house: Installation, place: str, *args: str) -> None:
    """Run a command that dies at *place* as by kill -9."""
    died = subprocess.run(
        [sys.executable, "-m", "streams.cli", *args],
        env=house.env | {"ORDERFLOW_FAILPOINT": place},
        cwd=ROOT, capture_output=True, text=True, timeout=WITHIN_S, check=False,
    )  # fmt: skip
    assert died.returncode == -signal.SIGKILL, (place, died.stdout, died.stderr)


def balance(house: Installation, sku: str) -> dict[str, int]:
    found: dict[str, int] = house.answer("stock", "show", sku)["balance"]
    return found


def by_webhook(house: Installation, rows: list[list[str]]) -> None:
    """The same orders as the platform sends them, as Taobao's own messages."""
    base = ROOT / "streams" / "demo" / "payloads" / "taobao" / "trade_paid_two_lines.json"
    trade = json.loads(base.read_text())
    inner = trade["trade_fullinfo_get_response"]["trade"]
    folder = house.folder / "webhooks"
    folder.mkdir(exist_ok=True)
    for order, _, created, modified, sku, units in rows:
        line = dict(inner["orders"]["order"][0]) | {"outer_sku_id": sku, "num": int(units)}
        line.pop("outer_iid", None)
        body = inner | {
            "tid": int(order), "tid_str": order, "orders": {"order": [line]},
            "created": beijing(created), "modified": beijing(modified),
            "pay_time": beijing(created),
        }  # fmt: skip
        file = folder / f"{order}.json"
        file.write_text(json.dumps({"trade_fullinfo_get_response": {"trade": body}}))
    files = [str(each) for each in sorted(folder.iterdir())]
    house.orderflow("feed", *files, *SHOP)


def beijing(iso: str) -> str:
    at = datetime.fromisoformat(iso) + timedelta(hours=8)
    return at.strftime("%Y-%m-%d %H:%M:%S")


def a_file_of_all_kinds(folder: Path) -> tuple[Path, list[list[str]]]:
    """Orders that are good, and rows that each have something the matter."""
    late = ago(hours=5)
    rows = [paid(str(10_000_000 + n)) for n in range(ORDERS)]
    odd = [
        ["20000001", "PENDING_PAYMENT", late, late, "RUG", "7"],  # its time was over long ago
        paid("20000002", "RUG", units="none"),  # bad
        paid("20000003", "LAMP"),
        paid("20000003", "RUG", at=ago(hours=3)),  # says another time than its first row
        paid("20000004", at=ago(hours=-3)),  # in the future: intake's rule refuses it
        [*paid("20000005")[:5], ""],  # cells of a line, and no quantity
    ]
    return write(folder / "orders.csv", *rows, *odd), rows


async def test_t42_every_order_is_one_order_however_the_import_is_killed_and_repeated(
    tmp_path: Path,
):
    async with installation(tmp_path) as house:
        file, rows = a_file_of_all_kinds(tmp_path)

        # Nobody is at work yet: a dry run needs nothing but the reference data and PostgreSQL.
        dry = house.answer("import", str(file), *SHOP, "--dry-run", code=1)
        assert dry["rows"] == {
            "new": ORDERS + 1, "update": 0, "duplicate": 0, "stale": 0, "bad": 5,
        }  # fmt: skip
        assert house.answer("import", "list")["imports"] == []

        # The goods come first: an order that falls short is not asked again.
        with house.running("intake,orders,stock"):
            for sku in ("RUG", "LAMP"):
                house.orderflow("stock", "receive", sku, "9000", "--reason", "delivery")

        # It dies at every place, and what is sent waits for workers that are not there yet.
        dies(house, PLACES[0], "import", str(file), *SHOP, *WHY)
        (job,) = house.answer("import", "list")["imports"]
        for place in PLACES[1:4]:
            dies(house, place, "import", "resume", job["id"])
        with house.running("intake,orders,stock,ledger"):
            dies(house, PLACES[4], "import", "resume", job["id"])
            await goes_on_while_webhooks_flow(house, file, rows[:40], job["id"])
            twice_is_once(house, file)
            known_orders_are_treated_as_the_operator_wishes(house)
            the_stock_is_exact(house)


async def goes_on_while_webhooks_flow(
    house: Installation, file: Path, rows: list[list[str]], job: str
) -> None:
    """The command as it was begun goes on with its job; the platform says the same, and newer."""
    webhooks = [[*row[:2], ago(hours=2), ago(hours=1), *row[4:]] for row in rows]
    receipt, _ = await asyncio.gather(
        asyncio.to_thread(imported, house, file, code=1),
        asyncio.to_thread(by_webhook, house, webhooks),
    )

    assert receipt["id"] == job
    assert receipt["state"] == "done"
    seen = receipt["verdicts"]["rows"]
    assert seen["bad"] == 5
    assert seen["new"] + seen.get("update", 0) + seen.get("stale", 0) == ORDERS + 1
    assert seen["new"] >= ORDERS + 1 - len(webhooks)
    assert (receipt["operator"], receipt["reason"]) == ("mei", "webhooks down")
    refused = csv.DictReader(text_of(receipt["refused_file"]).splitlines())
    assert {row["refused_field"] for row in refused} == {"quantity", "created_at", "order_id"}


def text_of(file: str) -> str:
    return Path(file).read_text("utf-8-sig")


def twice_is_once(house: Installation, file: Path) -> None:
    again = imported(house, file, code=1)

    said = again["verdicts"]["rows"]
    assert said["duplicate"] + said.get("stale", 0) == ORDERS + 1
    assert said.keys() <= {"duplicate", "stale", "bad"}


def known_orders_are_treated_as_the_operator_wishes(house: Installation) -> None:
    newer = [*paid("10000100")[:3], ago(minutes=1), "RUG", "2"]
    older = paid("10000100", at=ago(days=2), units="3")
    for row, how, verdict in (
        (newer, "skip", "skipped"),
        (newer, "update", "update"),
        (newer, "update", "duplicate"),
        (older, "update", "stale"),
        (older, "force", "update"),
    ):
        file = write(house.folder / "one.csv", row)
        receipt = imported(house, file, "--existing", how)
        assert receipt["verdicts"]["rows"] == {verdict: 1}, (row, how)


def the_stock_is_exact(house: Installation) -> None:
    """One hold an order; the unpaid one, whose time was over, never held anything."""
    out = ORDERS + 2
    rug = eventually(lambda: (now := balance(house, "RUG"))["occupied"] == out and now, 60)
    assert rug["available"] == 9_000 - out
    assert balance(house, "LAMP")["available"] == 9_000
    late = house.answer("order", "show", "20000001")["order"]
    assert late["reservation_now"] == "expired"
    verdict = house.at_rest()
    assert verdict["ok"], verdict


# --- uploads --------------------------------------------------------------------------------------


def ask(address: str, key: str | None, body: bytes | None = None, **more: str) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(  # noqa: S310
        address, data=body, headers=headers | more, method="POST" if body is not None else "GET"
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            said = answer.read()
            is_json = "json" in answer.headers["content-type"]
            return answer.status, json.loads(said) if is_json else said.decode("utf-8-sig")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def in_state(address: str, key: str, state: str) -> dict[str, Any]:
    def look() -> Any:
        _, job = ask(address, key)
        return job if job["state"] == state and not job["at_work"] else None

    found: dict[str, Any] = eventually(look, WITHIN_S)
    return found


async def test_a_file_is_uploaded_looked_at_and_carried_out_by_who_may(tmp_path: Path):
    file = write(tmp_path / "orders.csv", paid("30000001"), paid("30000002", units="x"))
    body, where = file.read_bytes(), "/v1/imports?platform=taobao&shop=qingyou"
    why = b'{"reason": "outage"}'
    async with installation(tmp_path) as house:
        house.env["ORDERFLOW_IMPORT_FOLDER"] = str(house.folder / "uploads")
        owner = house.env["ORDERFLOW_POSTGRES_OWNER"]
        roles = {"mei": Role.ADMIN, "lin": Role.OPERATIONS, "guest": Role.VIEWER}
        mei, lin, guest = [
            (await keys.make(owner, name, role, "root", "a test")).key
            for name, role in roles.items()
        ]
        with operations(house) as api:
            site = api.url
            nothing_is_begun(site + where, body, mei, lin, guest)
            assert list((tmp_path / "uploads").glob("*")) == []

            # A dry run is a job too; then it is carried out, in the name of who says so.
            status, begun = ask(
                site + where + "&dry_run=1&name=orders.csv&reason=look&column=no=order_id",
                lin, body,
            )  # fmt: skip
            assert status == 202
            foul = in_state(site + f"/v1/imports/{begun['import']}", lin, "refused")
            assert "no" in foul["failure"]
            status, begun = ask(site + where + "&dry_run=1&name=orders.csv&reason=look", lin, body)
            job = site + f"/v1/imports/{begun['import']}"
            looked = in_state(job, lin, "forecast")
            assert looked["forecast"]["rows"]["new"] == looked["forecast"]["rows"]["bad"] == 1
            assert ask(job + "/resume", lin, why)[0] == 409
            _, rows = ask(job + "/rows", guest)
            assert [row["verdict"] for row in csv.DictReader(rows.splitlines())] == ["new", "bad"]
            refused = [
                ask(job + "/resume", lin, why)[0],
                ask(job + "/run", guest, why)[0],
                ask(job + "/run", lin, b'{"existing": "force", "reason": "x"}')[0],
            ]
            assert refused == [409, 403, 403]
            with house.running("intake,orders,stock,ledger"):
                assert ask(job + "/run", mei, why)[0] == 202
                assert ask(job + "/run", mei, why)[0] == 409
                done = in_state(job, lin, "done")
                run_while_the_dry_run_is_leaving(site, lin, body)
            assert done["verdicts"]["rows"] == {"new": 1, "bad": 1}
            assert (done["operator"], done["reason"], done["file_name"], "path" in done) == (
                "mei", "outage", "orders.csv", False,
            )  # fmt: skip
            assert ask(job + "/refused", guest)[0] == 403
            _, refused = ask(job + "/refused", lin)
            assert "quantity" in refused

            a_file_of_the_wrong_kind_ends_its_job(site, site + where, mei)
            assert ask(site + "/v1/import-templates", guest)[1]["fields"]["order_id"]
        await what_a_server_that_ended_has_left_goes_on_when_one_starts(house, lin, body)
        what_is_not_heard_of_is_not_called_done_and_a_changed_file_is_another(house)
        the_same_file_elsewhere_goes_on_where_the_first_is_gone(house)


async def what_a_server_that_ended_has_left_goes_on_when_one_starts(
    house: Installation, key: str, body: bytes
) -> None:
    """It had begun the job and died before any process worked at it; a file elsewhere is left."""
    address = SecretStr(house.env["ORDERFLOW_POSTGRES_OPERATIONS"])
    settings = house.settings.model_copy(update={"postgres_operations": address})
    reading = Reading("taobao", "qingyou")
    uploads = house.folder / "uploads"

    async def left(number: int, folder: Path) -> str:
        path = folder / f"left-{number}.upload"
        path.write_bytes(body + b"\r\n" * number)
        wish = await wish_of(path, reading, Existing.UPDATE, "lin", "outage")
        return await begin(settings, wish)

    jobs = [await left(1, uploads), await left(2, house.folder)]
    with house.running("intake,orders,stock,ledger"), operations(house) as api:
        done = in_state(f"{api.url}/v1/imports/{jobs[0]}", key, "done")
        _, other = ask(f"{api.url}/v1/imports/{jobs[1]}", key)
        jobs.append(await left(3, uploads))
        with console(house):
            in_state(f"{api.url}/v1/imports/{jobs[2]}", key, "done")

    assert done["verdicts"]["orders"] == {"duplicate": 1}
    assert (other["state"], other["at_work"]) == ("received", False)


def a_file_of_the_wrong_kind_ends_its_job(site: str, where: str, key: str) -> None:
    """Before anything is sent."""
    _, begun = ask(where + "&reason=x", key, b"%PDF-1.7")
    foul = in_state(f"{site}/v1/imports/{begun['import']}", key, "refused")
    assert "PDF" in foul["failure"]
    assert foul["sent"] == 0


def run_while_the_dry_run_is_leaving(site: str, key: str, body: bytes) -> None:
    """What somebody sends on before its process has ended is not forgotten when it ends."""
    for nth in range(3):
        where = f"{site}/v1/imports?platform=taobao&shop=qingyou&dry_run=1&reason={nth}"
        job = f"{site}/v1/imports/{ask(where, key, body)[1]['import']}"
        until = time.monotonic() + WITHIN_S
        while ask(job, key)[1]["state"] != "forecast":
            assert time.monotonic() < until, "the file was not looked at in time"
            time.sleep(0.02)
        assert ask(job + "/run", key, b'{"reason": "outage"}')[0] == 202
        assert in_state(job, key, "done")["verdicts"]["rows"] == {"duplicate": 1, "bad": 1}


def nothing_is_begun(where: str, body: bytes, mei: str, lin: str, guest: str) -> None:
    """What nobody may and what cannot be is refused by name."""
    imports = where.split("?", maxsplit=1)[0]
    # Nobody unknown is answered, and everybody may do what they may.
    assert ask(imports, None)[0] == 401
    assert ask(where + "&reason=x", guest, body)[0] == 403
    assert ask(where + "&reason=x&existing=force", lin, body)[0] == 403
    for wrong, sentence in (
        ("&reason=", "$.reason"),
        ("&reason=x&shop=other", "asked for twice"),
        ("&reason=x&tz=UTC", "unknown field `tz`"),
        ("&reason=x&existing=always", "always"),
        ("&reason=x&column=a", "THEIRS=FIELD"),
        ("&reason=x&zone=%00", "$.zone"),
    ):
        status, said = ask(where + wrong, mei, body)
        assert (status, sentence in said["error"]) == (400, True), said
    status, said = ask(where + "&reason=x", mei, body, **{"content-encoding": "gzip"})
    assert status == 415
    assert too_large(where + "&reason=x", mei) == 413
    assert ask(imports + "/nothing", mei)[0] == 404
    assert ask(imports, mei)[1]["imports"] == []


def too_large(address: str, key: str) -> int:
    """Say so in the headers, and send nothing of it."""
    import http.client  # noqa: PLC0415
    from urllib.parse import urlsplit  # noqa: PLC0415

    parts = urlsplit(address)
    client = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        client.putrequest("POST", f"{parts.path}?{parts.query}")
        client.putheader("authorization", f"Bearer {key}")
        client.putheader("content-length", str(10**12))
        client.endheaders()
        return client.getresponse().status
    finally:
        client.close()


def what_is_not_heard_of_is_not_called_done_and_a_changed_file_is_another(
    house: Installation,
) -> None:
    """No worker runs; exit codes are what scripts go by."""
    file = write(house.folder / "orders.csv", paid("40000001"))

    house.orderflow("import", str(file), *SHOP, *WHY, "--timeout", "1", code=75)

    job = house.answer("import", "list")["imports"][0]
    assert (job["state"], job["sent"]) == ("settling", 1)
    file.write_text(file.read_text() + "\n")
    house.orderflow("import", "resume", job["id"], code=2)
    assert house.answer("import", "show", job["id"])["state"] == "settling"
    for wrong in (
        ("resume", "nothing"),
        (str(file), *SHOP),  # no reason
        (str(house.folder / "none.csv"), *SHOP, *WHY),
        (str(file), *SHOP, *WHY, "--existing", "always"),
        (str(file), *SHOP, *WHY, "--column", "order_id"),
    ):
        house.orderflow("import", *wrong, code=2)


def the_same_file_elsewhere_goes_on_where_the_first_is_gone(house: Installation) -> None:
    """An upload is kept for some days only, and people move their files."""
    first = write(house.folder / "first.csv", paid("50000001"))
    house.orderflow("import", str(first), *SHOP, *WHY, "--timeout", "1", code=75)
    job = house.answer("import", "list")["imports"][0]
    second = first.rename(house.folder / "second.csv")
    house.orderflow("import", "resume", job["id"], code=2)

    with house.running("intake,orders,stock,ledger"):
        done = imported(house, second)

    assert (done["id"], done["state"]) == (job["id"], "done")
    assert done["verdicts"]["orders"] == {"new": 1}
