"""Whose APIs are called: `[shops.api]` in the shops file; and which messages name an order."""

from pathlib import Path

import pytest

from schemas.errors import Misconfigured
from streams.clients import CLIENTS
from streams.clients.calls import Listing, Rate
from streams.gateway import shops
from streams.polling import accounts
from streams.polling.thin import named_in

SAMPLES = Path(__file__).parents[1] / "adapters" / "payloads"
ROOT = Path(__file__).parents[2]

TAOBAO = """
[[shops]]
platform = "taobao"
shop = "qingyou"
[shops.api]
app_key = "k"
app_secret = "s3cr3t"
access_token = "t0k3n"
"""
SHOPIFY = """
[[shops]]
platform = "shopify"
shop = "jsmith"
secrets = ["hook"]
"""


def a_file(folder: Path, text: str) -> Path:
    file = folder / "shops.toml"
    file.touch(0o600)
    file.write_text(text)
    return file


def test_a_shop_is_called_at_its_platforms_address_with_its_rate(tmp_path: Path):
    found = accounts.read(a_file(tmp_path, TAOBAO))

    (account,) = found.values()
    assert account.access.base_url == "https://eco.taobao.com/router/rest"
    assert account.access.rate is None
    assert account.client is CLIENTS["taobao"]


def test_an_address_and_a_rate_of_its_own_go_before_the_platforms(tmp_path: Path):
    text = TAOBAO + 'base_url = "http://127.0.0.1:9/x/"\ncalls_per_s = 3\ncalls_at_once = 2\n'

    (account,) = accounts.read(a_file(tmp_path, text)).values()

    assert account.access.base_url == "http://127.0.0.1:9/x"
    assert account.access.rate == Rate(per_s=3, burst=2, stated="the shops file")


def test_the_gateway_leaves_alone_what_is_only_polled(tmp_path: Path):
    file = a_file(tmp_path, SHOPIFY + TAOBAO)

    assert set(shops.read(file).by_name) == {("shopify", "jsmith")}
    assert set(accounts.read(file)) == {("taobao", "qingyou")}


def test_one_entry_may_be_both_pushed_and_polled(tmp_path: Path):
    file = a_file(
        tmp_path,
        SHOPIFY + '[shops.api]\nbase_url = "https://j.myshopify.com"\naccess_token = "t0k3n"\n',
    )

    assert set(shops.read(file).by_name) == set(accounts.read(file)) == {("shopify", "jsmith")}


def test_a_shop_may_say_what_its_platform_calls_carriers(tmp_path: Path):
    text = TAOBAO + '[shops.api.carriers]\nSF = "SFKY"\n'

    (account,) = accounts.read(a_file(tmp_path, text)).values()

    assert account.access.carriers == {"SF": "SFKY"}


def test_a_token_may_lie_in_a_file_of_its_own(tmp_path: Path):
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("from-a-file\n")
    text = TAOBAO.replace('access_token = "t0k3n"', 'access_token_file = "token"')

    (account,) = accounts.read(a_file(tmp_path, text)).values()
    assert account.access.access_token == "from-a-file"  # noqa: S105  it opens nothing

    token.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod o-rwx"):
        accounts.read(a_file(tmp_path, text))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (('access_token = "t0k3n"', ""), "api.access_token: taobao needs it"),
        (('app_key = "k"', 'base_url = "http://proxy.example/"\napp_key = "k"'), "https address"),
        (('app_key = "k"', 'base_url = "ftp://127.0.0.1/"\napp_key = "k"'), "https address"),
        (('"s3cr3t"', '"CHANGE-ME"'), "in place of CHANGE-ME"),
        (('app_key = "k"', 'app_key = "k"\nsecret = "s3cr3t"'), "secret: Extra inputs"),
        (('app_key = "k"', 'app_key = "k"\ncalls_per_s = 3'), "or neither"),
        (('app_key = "k"', 'app_key = "k"\naccess_token_file = "x"'), "not both"),
        (('"taobao"', '"mall"'), "an api can be called of taobao"),
        (("[shops.api]", "[shops.apis]"), "apis: Extra inputs"),
        (('app_key = "k"', 'app_key = "k"\ncarriers = {SF = "CHANGE-ME"}'), "api.carriers"),
    ],
)
def test_a_wrong_entry_is_told_by_its_field_and_never_by_what_it_holds(
    tmp_path: Path, change: tuple[str, str], sentence: str
):
    with pytest.raises(Misconfigured) as told:
        accounts.read(a_file(tmp_path, TAOBAO.replace(*change)))

    assert sentence in str(told.value)
    assert "s3cr3t" not in str(told.value)
    assert "t0k3n" not in str(told.value)


def test_no_api_anywhere_is_said(tmp_path: Path):
    with pytest.raises(Misconfigured, match=r"no \[shops.api\] table"):
        accounts.read(a_file(tmp_path, SHOPIFY))


def test_the_example_has_a_shop_of_every_client(tmp_path: Path):
    text = (ROOT / "deploy" / "shops.example.toml").read_text().replace("CHANGE-ME", "x")
    for name in ("jsmith.secret", "kuaishou.secret", "taobao.token"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text("MDEyMzQ1Njc4OWFiY2RlZg==")

    found = accounts.read(a_file(tmp_path, text))

    assert {platform for platform, _ in found} == set(CLIENTS) - {"tmall"}


@pytest.mark.parametrize(
    ("platform", "sample", "named"),
    [
        ("tiktokshop", "push_order_status_change", 1),
        ("shopee", "push_order_status", 1),
        ("douyin", "push_batch", 1),  # five messages of one order: it is asked for once
        ("douyin", "probe", 0),
        ("kuaishou", "push_paySuccess_decrypted", 1),
        ("xiaohongshu", "push_status_change", 1),
        ("amazon", "notification_ORDER_CHANGE", 1),
        ("pdd", "push_pmc_TradeConfirmed", 1),
        ("taobao", "push_tmc_websocket_decoded", 1),
        # whole orders ask for nothing
        ("tiktokshop", "order_awaiting_shipment", 0),
        ("shopee", "order_detail_completed", 0),
        ("douyin", "order_paid_two_lines", 0),
        ("kuaishou", "order_paid", 0),
        ("taobao", "trade_paid_two_lines", 0),
    ],
)
def test_a_message_that_only_names_an_order_asks_for_it(platform: str, sample: str, named: int):
    payload = (SAMPLES / platform / f"{sample}.json").read_bytes()

    assert len(named_in(platform, "s", payload)) >= named
    assert bool(named_in(platform, "s", payload)) == bool(named)


def test_what_cannot_be_read_is_left_to_intake():
    assert named_in("taobao", "s", b"\xff") == []
    assert named_in("shopee", "s", b'{"code":3,"data":7}') == []


STOCK = TAOBAO + '[shops.api.stock]\nlistings = "listings.csv"\n'


def test_a_shop_says_what_its_platform_calls_its_listings(tmp_path: Path):
    (tmp_path / "listings.csv").write_text(
        "theirs,item,sku\nL-1,6012345,50123\nL-2,6012346,\n", encoding="utf-8-sig"
    )

    (account,) = accounts.read(a_file(tmp_path, STOCK)).values()

    assert account.access.tells_stock
    assert account.access.listings == {
        "L-1": Listing("6012345", "50123"), "L-2": Listing("6012346", ""),
    }  # fmt: skip
    (silent,) = accounts.read(a_file(tmp_path, TAOBAO)).values()
    assert not silent.access.tells_stock


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("theirs;item;sku\n", "begins with another line"),
        ("theirs,item,sku\nL-1,,\n", "line 2: is not whole"),
        ("theirs,item,sku\n,6012345,1\n", "line 2: is not whole"),
        ("theirs,item,sku\nL-1,1,2,3\n", "line 2: is not whole"),
        ("theirs,item,sku\nL-1,1,2\nL-1,1,3\n", "line 3: L-1 comes a second time"),
        (None, "cannot be read"),
    ],
)
def test_listings_that_are_wrong_are_refused_with_their_line(
    tmp_path: Path, text: str | None, why: str
):
    if text is not None:
        (tmp_path / "listings.csv").write_text(text)

    with pytest.raises(Misconfigured, match=why):
        accounts.read(a_file(tmp_path, STOCK))


def test_stock_needs_its_place_and_a_platform_that_takes_a_number(tmp_path: Path):
    shopify = SHOPIFY + '[shops.api]\nbase_url = "https://j.myshopify.com"\naccess_token = "t"\n'
    with pytest.raises(Misconfigured, match="place: shopify needs it"):
        accounts.read(a_file(tmp_path, shopify + "[shops.api.stock]\n"))
    kuaishou = TAOBAO.replace("taobao", "kuaishou") + "[shops.api.stock]\n"
    with pytest.raises(Misconfigured, match="differences alone"):
        accounts.read(a_file(tmp_path, kuaishou))
