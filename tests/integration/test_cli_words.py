"""The command line without a stack: help, exit codes, files, drawings, and what it hides."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from schemas.errors import Misconfigured
from schemas.orders import Status
from schemas.reference import Kit
from schemas.stock import AdjustStock, Bucket, ReceiveStock
from streams import logs
from streams.cli import app
from streams.clock import new_id
from streams.commanding import BadCommand, command, receipts
from streams.drawings import BUCKETS, DEMANDS, STATUSES, page
from streams.masking import masked, shown
from streams.reference import UnreadableReference, read_file
from streams.settings import Settings
from streams.topology import picture
from tables.answers import asked_at
from tables.order_rows import Held

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "streams" / "demo" / "payloads"


def orderflow(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command without the stack's addresses, except those given."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ORDERFLOW_")}
    return subprocess.run(
        [sys.executable, "-m", "streams.cli", *arguments],
        env={**clean, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )


def _commands() -> list[tuple[str, ...]]:
    """Every command and group, as it is typed."""
    found: list[tuple[str, ...]] = [()]

    def walk(group: Any, path: tuple[str, ...]) -> None:
        for name, each in sorted(group.commands.items()):
            found.append((*path, name))
            if hasattr(each, "commands"):
                walk(each, (*path, name))

    walk(typer.main.get_command(app), ())
    return found


def test_the_commands_are_those_of_the_house() -> None:
    names = {" ".join(path) for path in _commands()}

    assert names >= {
        "topics apply", "topics verify", "migrate", "reference apply", "reference show", "worker",
        "feed", "stock receive", "stock adjust", "stock freeze", "stock unfreeze", "stock show",
        "order show", "order ship", "explain order", "exceptions list", "exceptions show",
        "callbacks run", "subscribers add", "subscribers list", "subscribers show",
        "subscribers pause", "subscribers resume", "subscribers rotate", "subscribers remove",
        "subscribers test", "subscribers deliveries",
        "exceptions edit", "exceptions retry", "exceptions discard", "intake pause",
        "intake resume", "intake paused", "operations", "operators add", "console",
        "console users add", "console rights", "figures restate", "figures check", "report daily",
        "normalize", "topology",
        "state-machines",
        "check", "demo", "epoch show", "epoch start",
    }  # fmt: skip


@pytest.mark.parametrize("path", _commands(), ids=" ".join)
def test_the_help_of_every_command_has_an_example(path: tuple[str, ...]) -> None:
    group = typer.main.get_command(app)
    for name in path:
        group = group.commands[name]

    assert group.help
    assert group.epilog
    assert group.epilog.startswith("Examples:")
    assert "$ orderflow" in group.epilog or "$ make" in group.epilog


def test_help_is_printed_and_ends_with_0() -> None:
    done = orderflow("stock", "receive", "--help")

    assert done.returncode == 0
    assert "--file" in done.stdout
    assert "Examples:" in done.stdout


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; import streams.cli; "
        "heavy = ('faust', 'aiokafka', 'asyncpg', 'pydantic', 'rich'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert done.stdout.strip() == "[]"


# --- exit codes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "env", "code", "says"),
    [
        # no such command
        (("fly",), {}, 2, "fly"),
        # neither files nor --generate
        (("feed",), {}, 2, "--generate"),
        # not a share
        (("feed", "--generate", "10", "--duplicates", "many"), {}, 2, "such as 5%"),
        # a platform whose orders cannot be generated
        (("feed", "--generate", "10", "--platforms", "jd"), {"ORDERFLOW_KAFKA": "x:1"}, 2, "jd"),
        # SKU without quantity
        (("stock", "receive", "A"), {}, 2, "quantity"),
        # not a UUIDv7
        (("stock", "receive", "A", "1", "--id", "7"), {"ORDERFLOW_KAFKA": "x:1"}, 2, "UUIDv7"),
        # units that are none
        (
            ("order", "ship", "a:b:c", "SF", "SF1001", "--line", "x=0", "--reason", "y"),
            {},
            2,
            "LINE=UNITS",
        ),
        # a number that no parcel has
        (
            ("order", "ship", "a:b:c", "SF", "SF 10", "--reason", "y"),
            {"ORDERFLOW_KAFKA": "x:1"},
            2,
            "tracking_number",
        ),
        # a difference of nothing
        (("stock", "adjust", "A", "0", "--reason", "x"), {}, 2, "delta"),
        # a keeper nobody knows
        (("epoch", "start", "cook", "--reason", "x"), {}, 2, "choose from orders, stock"),
        # an epoch that nobody gives a reason for
        (("epoch", "start", "stock", "--reason", " "), {}, 2, "Say why with --reason"),
        # no address at all
        (("topics", "apply"), {}, 78, "ORDERFLOW_KAFKA"),
        # an address where nobody answers
        (("topics", "verify"), {"ORDERFLOW_KAFKA": "127.0.0.1:1"}, 75, "does not answer; start it"),
        # no owner
        (("migrate",), {"ORDERFLOW_KAFKA": "x:1"}, 78, "ORDERFLOW_POSTGRES_OWNER"),
        # no reader
        (("exceptions", "list"), {"ORDERFLOW_KAFKA": "x:1"}, 78, "ORDERFLOW_POSTGRES_READER"),
        # a role nobody knows
        (("worker", "--roles", "cook"), {"ORDERFLOW_KAFKA": "x:1"}, 78, "cook"),
        # a ledger without an address
        (
            ("worker", "--bare", "--roles", "ledger"),
            {"ORDERFLOW_KAFKA": "x:1"},
            78,
            "ORDERFLOW_POSTGRES_LEDGER",
        ),
        # addresses that nobody could connect to, and whose passwords are nobody's business
        (
            ("worker", "--bare", "--roles", "ledger"),
            {"ORDERFLOW_KAFKA": "x:1", "ORDERFLOW_POSTGRES_LEDGER": "nonsense"},
            78,
            "ORDERFLOW_POSTGRES_LEDGER: write it as postgresql://",
        ),
        (
            ("exceptions", "list"),
            {"ORDERFLOW_KAFKA": "x:1", "ORDERFLOW_POSTGRES_READER": "postgresql://a:b@c:d/e"},
            78,
            "ORDERFLOW_POSTGRES_READER",
        ),
        # nobody says where the queue is
        (("callbacks", "run"), {"ORDERFLOW_KAFKA": "x:1"}, 78, "ORDERFLOW_POSTGRES_CALLBACKS"),
        (
            ("worker", "--bare", "--roles", "callbacks"),
            {"ORDERFLOW_KAFKA": "x:1"},
            78,
            "ORDERFLOW_POSTGRES_CALLBACKS",
        ),
        # a number that is none
        (
            ("topics", "verify"),
            {"ORDERFLOW_KAFKA": "x:1", "ORDERFLOW_PARTITIONS": "few"},
            78,
            "ORDERFLOW_PARTITIONS",
        ),
    ],
)
def test_what_goes_wrong_has_its_code_and_says_what_to_do(
    arguments: tuple[str, ...], env: dict[str, str], code: int, says: str
) -> None:
    done = orderflow(*arguments, **env)

    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


# --- normalize ------------------------------------------------------------------------------------


def test_normalize_prints_one_order_a_line() -> None:
    done = orderflow("normalize", "taobao", str(SAMPLES / "taobao" / "trade_paid_two_lines.json"))

    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "platform": "taobao",
        "platform_order_id": "2771944107739206615",
        "status": "PAID",
        "refund": "NONE",
        "currency": "CNY",
        "total_minor": 20360,
        "shipping_minor": 1200,
        "discount_minor": 840,
        "created_at": "2026-04-10T03:01:40Z",
        "paid_at": "2026-04-10T03:02:11Z",
        "updated_at": "2026-04-10T03:02:11Z",
        "lines": [
            {
                "line_id": "2771944107740206615",
                "platform_sku": "4900281173305",
                "merchant_sku": "BASKET-L",
                "quantity": 2,
                "unit_price_minor": 5800,
                "line_total_minor": 11000,
            },
            {
                "line_id": "2771944107741206615",
                "platform_sku": "4911820073391",
                "merchant_sku": "HOOK-C",
                "quantity": 5,
                "unit_price_minor": 1680,
                "line_total_minor": 8160,
            },
        ],
        "buyer_phone_usable": False,
        "notices": [],
    }


def test_normalize_joins_an_order_and_its_after_sale_list() -> None:
    folder = SAMPLES / "taobao"
    done = orderflow(
        "normalize",
        "taobao",
        str(folder / "trade_finished_one_line_refunded.json"),
        str(folder / "refunds_receive_get.json"),
    )

    (line,) = done.stdout.splitlines()
    assert json.loads(line)["refund"] == "PARTIALLY_REFUNDED"


@pytest.mark.parametrize(
    ("platform", "name", "content", "says"),
    [
        # not JSON
        ("taobao", "broken.json", b'{"trade_fullinfo', "broken.json"),
        # not UTF-8
        ("shopify", "latin.json", b'{"id": "\xff"}', "latin.json"),
        # nested 10,000 deep
        ("douyin", "deep.json", b"[" * 10_000 + b"]" * 10_000, "deep.json"),
        # another kind of thing
        ("taobao", "other.json", b'{"weather": "fine"}', "other.json"),
        # not there
        ("taobao", "gone.json", None, "gone.json"),
        # an order without its id
        ("mall", "order.json", b"{}", "mall"),
    ],
)
def test_normalize_names_the_file_that_it_cannot_read(
    tmp_path: Path, platform: str, name: str, content: bytes | None, says: str
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)

    done = orderflow("normalize", platform, str(file))

    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


# --- commands and files ---------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", [0, -1, 2**63, 2**64, -(2**63) - 1])
def test_an_impossible_quantity_is_refused_by_name(quantity: int) -> None:
    with pytest.raises(BadCommand, match="quantity"):
        command(ReceiveStock, id=new_id(), sku="A", quantity=quantity, reason="r", operator="o")


def test_half_a_character_in_a_command_is_refused_by_name() -> None:
    with pytest.raises(BadCommand, match="sku: the text is not UTF-8"):
        command(ReceiveStock, id=new_id(), sku="\udcff", quantity=1, reason="r", operator="o")


def test_a_new_id_carries_its_time() -> None:
    assert asked_at(new_id(1_795_500_000_123), 1_795_500_000_123) == 1_795_500_000_123


def test_a_correction_may_be_negative() -> None:
    made = command(AdjustStock, id=new_id(), sku="A", delta=-3, reason="r", operator="o")

    assert made.delta == -3


def test_a_delivery_file_is_taken_whole_or_not_at_all(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("sku,quantity\nA,3\nB,40\n")
    bad.write_text("sku,quantity\nA,3\nB,1.5\n")

    assert [(one.sku, one.quantity) for one in receipts(good, "r", "o")] == [("A", 3), ("B", 40)]
    with pytest.raises(BadCommand, match="line 3, quantity"):
        receipts(bad, "r", "o")


@pytest.mark.parametrize("text", ["", "sku\nA\n", "sku,quantity\n"])
def test_a_delivery_file_without_rows_or_columns_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "delivery.csv"
    file.write_text(text)

    with pytest.raises(BadCommand):
        receipts(file, "r", "o")


def test_kits_and_warehouses_are_read_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "reference.toml"
    file.write_text(
        _WITH
        + 'quota = "11-11"\nwarehouses = ["n", "s"]\nwarehouse_by = "province"\n'
        + 'provinces = { "四川" = "s" }\n'
        + '[[kits]]\nsku = "SET"\nparts = { "HOOK" = 4, "RUG" = 1 }\n'
    )

    shop, kit = read_file(file)

    assert isinstance(kit, Kit)
    assert [(part.sku, part.quantity) for part in kit.parts] == [("HOOK", 4), ("RUG", 1)]
    assert (shop.quota, shop.warehouses, shop.provinces) == ("11-11", ("n", "s"), {"四川": "s"})


def test_the_reference_file_of_the_repository_can_be_read() -> None:
    entries = read_file(ROOT / "deploy" / "reference.toml")
    entries = [entry for entry in entries if not isinstance(entry, Kit)]

    assert {(entry.platform, entry.shop) for entry in entries} >= {("taobao", "qingyou")}


_WITH = '[[shops]]\nplatform = "jd"\nshop = "a"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("shops = 3", "shops"),
        ('[[shops]]\nplatform = "taobao"\n', "shop"),
        ('[[shops]]\nplatform = "ebay"\nshop = "a"\n', "ebay"),
        ('[[shops]]\nplatform = "jd"\nshop = "a"\nhold_for_s = -1\n', "-"),
        ('[[shops]]\nplatform = "jd"\nshop = "a"\ncolour = "red"\n', "colour"),
        ('[[shops]]\nplatform = "jd"\nshop = "a"\ngo_live = 2026-01-01T00:00:00\n', "zone"),
        ('[[shops]]\nplatform = "jd"\nshop = "a"\nsku_mapping = "magic"\n', "magic"),
        ('[[shops]]\nplatform = "jd"\nshop = "a"\n' * 2, "twice"),
        ('[[skus]]\nplatform = "jd"\nshop = "a"\ntheirs = ""\nours = "B"\n', "empty"),
        ("[[shops]\n", "line 1"),
        (_WITH + 'warehouse_by = "moon"\n', "moon"),
        (_WITH + 'warehouses = ["a@b"]\n', "without @"),
        (_WITH + 'warehouses = ["a"]\n[shops.provinces]\nX = "b"\n', "no warehouse of it"),
        ('[[kits]]\nsku = "K"\nparts = {}\n', "parts|length"),
        ('[[kits]]\nsku = "K"\nparts = { A = 0 }\n', ">= 1|> 0"),
        (
            '[[kits]]\nsku = "K"\nparts = { L = 1 }\n[[kits]]\nsku = "L"\nparts = { A = 1 }\n',
            "kit 'L'",
        ),
    ],
)
def test_a_wrong_reference_file_is_refused_with_the_field(
    tmp_path: Path, text: str, says: str
) -> None:
    file = tmp_path / "reference.toml"
    file.write_text(text)

    with pytest.raises(UnreadableReference, match=says):
        read_file(file)


# --- what is drawn, and what is hidden ------------------------------------------------------------


def test_topology_prints_the_picture() -> None:
    assert orderflow("topology").stdout == picture()


def test_the_state_machines_page_is_fresh() -> None:
    assert (ROOT / "docs" / "state-machines.md").read_text() == page()


def test_every_state_says_who_brings_it_about_and_for_how_long() -> None:
    assert set(STATUSES) == set(Status)
    assert set(DEMANDS) == set(Held)
    assert set(BUCKETS) == set(Bucket)


def test_the_example_environment_names_every_setting_and_no_other() -> None:
    lines = (ROOT / "deploy" / "env.example").read_text().splitlines()
    named = [
        line.lstrip("#").partition("=")[0]
        for line in lines
        if line.lstrip("#").startswith("ORDERFLOW_")
    ]

    assert sorted(named) == sorted(f"ORDERFLOW_{name.upper()}" for name in Settings.model_fields)


def test_the_defaults_in_the_example_environment_are_the_defaults(tmp_path: Path) -> None:
    lines = (ROOT / "deploy" / "env.example").read_text().splitlines()
    shown_ = dict(
        line[len("#ORDERFLOW_") :].split("=", 1) for line in lines if line.startswith("#ORDERFLOW_")
    )
    for named in (
        "REFERENCE_FILE",
        "SNAPSHOTS",
        "SHOPS_FILE",
        "IMPORT_FOLDER",
        "ALERTS_FILE",
        "TRACES",
    ):  # none by default: the file shows an example
        shown_.pop(named)
    given = Settings(kafka="k", **{name.lower(): value for name, value in shown_.items()})

    assert given == Settings(kafka="k")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("call 13912345678 now", "call ***78 now"),
        ("call +86 139 1234 5678", "call ***78"),
        ("to a.b+c@shop.example.com", "to ***"),
        ("postgresql://ledger:secret@db/x", "postgresql://ledger:***@db/x"),
        # order ids are no phones
        ("order 2771944107739206615", "order 2771944107739206615"),
        ("raw-orders-taobao/3/1391", "raw-orders-taobao/3/1391"),
    ],
)
def test_the_log_shows_no_person_and_no_secret(said: str, kept: str) -> None:
    assert masked(said) == kept


def test_a_field_by_the_name_of_a_secret_is_hidden_whole() -> None:
    event = logs.mask(None, "", {"event": "x", "phone": "1", "deep": {"token": "t", "n": 1}})

    assert event == {"event": "x", "phone": "***", "deep": {"token": "***", "n": 1}}


def test_a_log_level_nobody_knows_is_refused() -> None:
    with pytest.raises(Misconfigured, match="ORDERFLOW_LOG_LEVEL"):
        logs.set_up("loud")


def test_a_raw_message_is_shown_without_the_person_in_it() -> None:
    payload = (SAMPLES / "shopify" / "order_pending_payment.json").read_bytes()
    text = json.dumps(shown(payload))

    assert "bob.norman" not in text
    assert "+16136120707" not in text
    assert "IPOD2009BLACK" in text


@pytest.mark.parametrize(
    ("payload", "kept"),
    [
        # nothing tells what is personal in it
        (b"\xff not json, 13912345678", "<23 bytes that are no JSON>"),
        # its end is missing: names are kept, values in quotes are not
        (
            b'{"tid": 17, "receiver_name": "Li Lei", "num": N',
            '{"tid": 17, "receiver_name": "***", "num": N',
        ),
        (b'{"addr": "Wensan Road 17', '{"addr": "***"'),
    ],
)
def test_of_what_is_no_json_nothing_personal_is_shown(payload: bytes, kept: str) -> None:
    assert shown(payload) == kept


def test_names_and_addresses_in_a_platform_message_are_hidden_by_their_fields_names() -> None:
    body = {
        "customer": {"first_name": "Bob"},
        "city": "Ottawa",
        "address1": "12 Elm St",
        "name": "x",
    }

    assert shown(json.dumps(body).encode()) == {
        "customer": "***", "city": "Ottawa", "address1": "***", "name": "***",
    }  # fmt: skip
