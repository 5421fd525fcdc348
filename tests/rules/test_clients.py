"""The platforms' clients: how they sign, what they ask, what they make of an answer. Pure."""

# ruff: noqa: E501, S106  a row of a matrix is one line; these secrets open nothing

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlsplit

import msgspec
import pytest

from streams.adapters import ADAPTERS
from streams.clients import (
    CLIENTS,
    amazon,
    douyin,
    kuaishou,
    shopee,
    shopify,
    taobao,
    tiktokshop,
    woocommerce,
    xiaohongshu,
)
from streams.clients.calls import (
    Access,
    Answer,
    Client,
    Kind,
    Request,
    Unreadable,
    Window,
    shortened,
)
from streams.clients.parts import backwards, signed

SAMPLES = Path(__file__).parents[1] / "adapters" / "payloads"
NOW_MS = 1_700_000_000_000
WINDOW = Window(1_699_999_000_000, 1_700_000_000_000)


def an_access(platform: str) -> Access:
    return Access(
        platform=platform,
        shop="s",
        base_url=CLIENTS[platform].base_url or "https://shop.example.com",
        app_key="the-key",
        app_secret="the-app-secret",
        access_token="the-access-token",
        refresh_token="the-refresh-token",
        shop_id="77",
    )


def answered(body: object, status: int = 200, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(
        status=status, body=raw, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )


# --- signing, against published and recomputed vectors --------------------------------------------

TAOBAO = {
    "app_key": "12345678", "fields": "num_iid,title,nick,price,num", "format": "json",
    "method": "taobao.item.seller.get", "num_iid": "11223344", "session": "test",
    "timestamp": "2016-01-01 12:00:00", "v": "2.0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("method", "sign"),
    [
        ("md5", "66987CB115214E59E6EC978214934FB8"),  # published
        ("hmac", "D56D7858309C31B6251083A874D48273"),  # recomputed
    ],
)
def test_taobao_signs_as_the_platform_does(method: str, sign: str):
    assert taobao.signed({**TAOBAO, "sign_method": method}, "helloworld")["sign"] == sign


def test_jd_signs_as_the_platform_does():
    params = {
        "360buy_param_json": '{"order_id":"249786309732"}', "access_token": "tok",
        "app_key": "key", "method": "jingdong.pop.order.get",
        "timestamp": "2022-07-16 16:38:32", "v": "2.0",
    }  # fmt: skip

    assert signed(params, "secret")["sign"] == "9236330DC80D764CF9D56DEDD8F5343A"


def test_pdd_signs_as_the_platform_does():
    params = {
        "access_token": "asd78172s8ds9a921j9qqwda12312w1w21211", "client_id": "1",
        "data_type": "XML", "order_status": "1", "page": "1", "page_size": "10",
        "timestamp": "1480411125", "type": "pdd.order.number.list.get",
    }  # fmt: skip

    assert signed(params, "testSecret")["sign"] == "E4DE3ED21002510DED352819E7AE6775"


def test_xiaohongshu_signs_as_the_platform_does():
    sign = xiaohongshu.sign("secret-456", "app-123", "order.getOrderDetail", 1700000000)

    assert sign == "c2b1c29513b4ca0ac54b75f01ee7d20d"


def test_tiktok_shop_signs_as_its_php_library_does():
    sign = tiktokshop.sign("app_secret", "/test-api", {"foo": "bar"})

    assert sign == "d3cb7fe11ecae942802ceeca67e7cf10120cc12f1517d45fbc1c8cfe5413c80f"


def test_douyin_signs_names_and_values_between_the_secret():
    """No vector is published; this one is recomputed with OpenSSL from the official SDK's rule."""
    sign = douyin.sign("s3", "app1", "order.searchList", '{"page":0}', 1700000000)

    assert sign == "8d0f79a8522d07137ec7327daa478b7dcc75da67cde4fda037260d15d2ecd0ea"


def test_kuaishou_leaves_empty_values_out_and_puts_the_secret_at_the_end():
    sign = kuaishou.sign({"b": "2", "a": "1", "empty": ""}, "sss")

    assert sign == hashlib.md5(b"a=1&b=2&signSecret=sss").hexdigest()  # noqa: S324


def test_shopee_signs_partner_path_time_token_and_shop():
    sign = shopee.sign("key", "10", "/api/v2/x", 1700000000, "tok", "77")
    text = b"10/api/v2/x1700000000tok77"

    assert sign == hmac.new(b"key", text, hashlib.sha256).hexdigest()


# --- what is asked --------------------------------------------------------------------------------


def asked(request: Request) -> dict[str, str]:
    """All parameters of a request, wherever they are."""
    found = dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True))
    body = (request.body or b"").decode()
    if body.startswith("{"):
        found |= {key: str(value) for key, value in json.loads(body).items()}
    else:
        found |= dict(parse_qsl(body, keep_blank_values=True))
    for nested in ("360buy_param_json", "param"):
        if nested in found:
            found |= {key: str(value) for key, value in json.loads(found[nested]).items()}
    return found


@pytest.mark.parametrize(
    ("platform", "from_", "to"),
    [
        ("taobao", ("start_modified", "2023-11-15 05:56:40"), ("end_modified", "2023-11-15 06:13:20")),
        ("jd", ("start_date", "2023-11-15 05:56:40"), ("end_date", "2023-11-15 06:13:20")),
        ("pdd", ("start_updated_at", "1699999000"), ("end_updated_at", "1700000000")),
        ("douyin", ("update_time_start", "1699999000"), ("update_time_end", "1700000000")),
        ("kuaishou", ("beginTime", "1699999000000"), ("endTime", "1700000000000")),
        ("xiaohongshu", ("startTime", "1699999000"), ("endTime", "1700000000")),
        ("shopify", ("updated_at_min", "2023-11-14T21:56:40Z"), ("updated_at_max", "2023-11-14T22:13:20Z")),
        ("amazon", ("lastUpdatedAfter", "2023-11-14T21:56:40Z"), ("lastUpdatedBefore", "2023-11-14T22:13:20Z")),
        # exclusive at both ends, so a second more on either side
        ("woocommerce", ("modified_after", "2023-11-14T21:56:39"), ("modified_before", "2023-11-14T22:13:21")),
        # exclusive at its end
        ("tiktokshop", ("update_time_ge", "1699999000"), ("update_time_lt", "1700000001")),
        ("shopee", ("time_from", "1699999000"), ("time_to", "1700000000")),
    ],
)  # fmt: skip
def test_orders_are_asked_for_by_their_time_of_modification(
    platform: str, from_: tuple[str, str], to: tuple[str, str]
):
    params = asked(CLIENTS[platform].listing(an_access(platform), WINDOW, None, NOW_MS))

    assert (params[from_[0]], params[to[0]]) == (from_[1], to[1])


@pytest.mark.parametrize("platform", CLIENTS)
def test_a_request_never_shows_what_it_carries(platform: str):
    client, access = CLIENTS[platform], an_access(platform)
    for request in (
        client.listing(access, WINDOW, None, NOW_MS),
        client.details(access, ("1",), NOW_MS),
        *([client.token(access)] if client.token else []),
    ):
        assert "the-" not in repr(request)
    assert "secret" not in repr(access).replace("app_secret", "")
    assert "token" not in repr(access).replace("token_url", "")


@pytest.mark.parametrize("kept", [8, 15, 16])
def test_a_secret_that_a_reason_was_shortened_in_is_not_shown(kept: int):
    said = "x" * (199 - kept) + " the-access-token has expired"

    shown = an_access("shopify").hide(shortened(said))

    assert shown.endswith("x ***")


@pytest.mark.parametrize("said", ["the token has expired", "no access by the-", ""])
def test_what_is_no_secret_is_shown(said: str):
    assert an_access("shopify").hide(shortened(said)) == said


@pytest.mark.parametrize("platform", CLIENTS)
def test_a_secret_is_not_sent_itself_but_for_what_is_no_signature(platform: str):
    sent = CLIENTS[platform].listing(an_access(platform), WINDOW, None, NOW_MS)

    assert "the-app-secret" not in sent.url + (sent.body or b"").decode()


# --- pages ----------------------------------------------------------------------------------------


def test_numbered_pages_are_read_from_the_last_one_backwards():
    marks, mark = [], None
    for _ in range(10):
        mark = backwards(mark, 250, 100).next
        if mark is None:
            break
        marks.append(mark)

    assert marks == ["3", "2", "1"]


@pytest.mark.parametrize(("total", "next_"), [(0, None), (100, None), (101, "2")])
def test_a_listing_of_one_page_is_asked_for_once(total: int, next_: str | None):
    assert backwards(None, total, 100).next == next_


def test_pages_numbered_from_zero_end_at_zero():
    assert backwards(None, 150, 100, first=0).next == "1"
    assert backwards("1", 150, 100, first=0).next == "0"
    assert backwards("0", 150, 100, first=0).next is None


def test_shopify_takes_only_the_cursor_of_a_link_and_asks_its_own_shop():
    link = '<https://elsewhere.example/x?limit=250&page_info=abc%3D>; rel="next"'
    page = shopify.read_page(answered({"orders": []}, link=link), None)

    assert page.next == "abc="
    request = shopify.listing(an_access("shopify"), WINDOW, page.next, NOW_MS)
    assert urlsplit(request.url).netloc == "shop.example.com"
    assert parse_qs(urlsplit(request.url).query) == {"limit": ["250"], "page_info": ["abc="]}


def test_shopee_says_where_it_goes_on():
    body = json.loads((SAMPLES / "shopee" / "order_list.json").read_bytes())
    page = shopee.read_page(answered(body), None)

    assert len(page.ids) == 10
    assert page.next == "20"
    body["response"]["more"] = False
    assert shopee.read_page(answered(body), None).next is None


# --- an order keeps its bytes ---------------------------------------------------------------------

WHOLE = {
    "taobao": ("trade_paid_two_lines", None),
    "pdd": ("order_paid", None),
    "douyin": ("order_paid_two_lines", None),
    "kuaishou": ("order_paid", None),
    "xiaohongshu": ("order_paid_two_lines", None),
    "shopify": ("order_paid_fulfilled", None),
    "woocommerce": ("order_processing", None),
    "tiktokshop": ("order_awaiting_shipment", None),
    "shopee": ("order_detail_completed", None),
    "amazon": ("v2026-01-01_getOrder_example", None),
}


@pytest.mark.parametrize("platform", WHOLE)
def test_an_order_is_cut_out_of_its_answer_and_means_the_same(platform: str):
    raw = (SAMPLES / platform / f"{WHOLE[platform][0]}.json").read_bytes()
    ((order_id, order),) = CLIENTS[platform].read_details(answered(raw)).items()

    assert order in raw
    (whole,), (cut,) = (ADAPTERS[platform].parse(each, "s") for each in (raw, order))
    assert cut.order_id == whole.order_id == order_id
    paths = lambda said: msgspec.structs.replace(said, notices=())  # noqa: E731  paths differ
    assert paths(cut) == paths(whole)
    assert ADAPTERS[platform].key_of(order) == order_id.encode()


def test_digits_of_an_id_and_of_money_are_not_touched():
    body = b'{"trade_fullinfo_get_response":{"trade":{"tid":2771944107739206615,"payment":"1.10"}}}'

    assert taobao.read_details(answered(body)) == {
        "2771944107739206615": b'{"tid":2771944107739206615,"payment":"1.10"}'
    }


# --- what an answer means -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "answer", "kind"),
    [
        ("taobao", answered({"error_response": {"code": 27, "msg": "Invalid session"}}), Kind.DENIED),
        ("taobao", answered({"error_response": {"code": 7, "msg": "App Call Limited"}}), Kind.THROTTLED),
        ("taobao", answered({"error_response": {"code": 15, "sub_code": "isp.trade-service-unavailable"}}), Kind.AWAY),
        ("taobao", answered({"error_response": {"code": 15, "sub_code": "isv.trade-not-exist"}}), Kind.REFUSED),
        ("jd", answered({"error_response": {"code": "19", "zh_desc": "Token expired"}}), Kind.DENIED),
        ("jd", answered({"error_response": {"code": "4711"}}), Kind.REFUSED),
        ("pdd", answered({"error_response": {"error_code": 10019}}), Kind.DENIED),
        ("pdd", answered({"error_response": {"error_code": 70031}}), Kind.THROTTLED),
        ("pdd", answered({"error_response": {"error_code": 52103}}), Kind.AWAY),
        ("pdd", answered({"error_response": {"error_code": 50001}}), Kind.REFUSED),
        ("douyin", answered({"code": 40003, "sub_code": "isv.access-token-expired"}), Kind.DENIED),
        ("douyin", answered({"code": 60000, "msg": "limit"}), Kind.THROTTLED),
        ("douyin", answered({"code": 20000, "sub_code": "isp.service-error"}), Kind.AWAY),
        ("douyin", answered({"code": 10000, "data": {}}), Kind.FINE),
        ("kuaishou", answered({"result": 1017, "msg": "Exceed qps limit, KEY [x]"}), Kind.THROTTLED),
        ("kuaishou", answered({"result": 24, "msg": "鉴权失败"}), Kind.DENIED),
        ("kuaishou", answered({"result": 1, "data": {}}), Kind.FINE),
        ("xiaohongshu", answered({"success": False, "error_code": -9013}), Kind.THROTTLED),
        ("xiaohongshu", answered({"success": True, "error_code": 50209}), Kind.REFUSED),
        ("shopify", answered({"errors": "Exceeded 2 calls per second"}, 429), Kind.THROTTLED),
        ("shopify", answered({"errors": "[API] Invalid API key"}, 401), Kind.DENIED),
        ("shopify", answered({"errors": "Not Found"}, 404), Kind.REFUSED),
        ("shopify", answered(b"<html>", 502), Kind.AWAY),
        ("amazon", answered({"errors": [{"code": "QuotaExceeded"}]}, 429), Kind.THROTTLED),
        ("amazon", answered({"errors": [{"code": "Unauthorized"}]}, 403), Kind.DENIED),
        ("amazon", answered({"error": "invalid_grant"}, 400), Kind.DENIED),
        ("woocommerce", answered({"code": "woocommerce_rest_cannot_view"}, 401), Kind.DENIED),
        ("tiktokshop", answered({"code": 36009002}, 429), Kind.THROTTLED),
        ("tiktokshop", answered({"code": 105002}, 401), Kind.DENIED),
        ("tiktokshop", answered({"code": 36009003}, 500), Kind.AWAY),
        ("shopee", answered({"error": "invalid_acceess_token"}, 403), Kind.DENIED),
        ("shopee", answered({"error": "error_rate_limit"}), Kind.THROTTLED),
        ("shopee", answered({"error": "error_server"}, 200), Kind.AWAY),
        ("shopee", answered({"error": "", "response": {}}), Kind.FINE),
    ],
)  # fmt: skip
def test_a_platforms_own_errors_are_told_apart(platform: str, answer: Answer, kind: Kind):
    assert CLIENTS[platform].verdict(answer).kind is kind


@pytest.mark.parametrize("client", CLIENTS.values(), ids=lambda client: client.platform)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"orders":[{"id":', b"[]", b'{"data":7}'])
def test_a_broken_answer_is_never_taken_for_an_empty_page(client: Client, body: bytes):
    answer = answered(body)
    if client.verdict(answer).kind is Kind.FINE:
        with pytest.raises(Unreadable):
            client.read_page(answer, None)


def test_woocommerce_without_the_number_of_orders_is_no_page():
    with pytest.raises(Unreadable):
        woocommerce.read_page(answered([]), None)
    assert woocommerce.read_page(answered([], x_wp_total="0"), None).next is None


def test_amazon_exchanges_its_refresh_token_at_the_address_that_is_set():
    access = replace(an_access("amazon"), token_url="http://127.0.0.1:1/token")
    request = amazon.token(access)

    assert request.url == "http://127.0.0.1:1/token"
    assert asked(request)["grant_type"] == "refresh_token"


def test_every_client_says_what_it_needs_and_how_often_it_may_ask():
    for platform, client in CLIENTS.items():
        assert client.platform == platform
        assert client.rate.per_s > 0
        assert client.rate.burst >= 1
        assert client.rate.stated
        assert client.window_max >= timedelta(minutes=30)
        assert bool(client.base_url) != ("base_url" in client.needs)
        for name in client.needs:
            assert hasattr(an_access(platform), name)
