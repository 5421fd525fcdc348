"""What is posted to each kind of channel, and what its answers mean."""

import hmac
from base64 import b64decode, b64encode
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from agents.paging import Kind, Message, Outcome
from schemas.alerts import Notice, Said, Severity
from streams.alerting.channels import REQUESTS, Channel, judged

AT_MS = 1_614_265_330_123
#: The secret of the Standard Webhooks test suite.
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def a_message() -> Message:
    notice = Notice(
        id="0192-4f09ac/fired", said=Said.FIRED, severity=Severity.CRITICAL, at_ms=AT_MS,
        title="negative-stock: 负库存", line="negative-stock: 负库存: 3 units short", body="Do: x",
    )  # fmt: skip
    return Message("**CRITICAL negative-stock: 负库存** #4f09ac\nDo: x", (notice,))


def posted(kind: Kind, secret: str = "") -> tuple[str, dict[str, str], bytes]:
    channel = Channel(name="ops", kind=kind, url="https://robot.example.com/?key=k", secret=secret)
    url, body, headers = REQUESTS[kind](channel, a_message(), AT_MS)
    return url, dict(headers), body


def test_wecom_is_posted_markdown():
    url, _, body = posted(Kind.WECOM)

    assert url == "https://robot.example.com/?key=k"
    assert orjson.loads(body) == {
        "msgtype": "markdown",
        "markdown": {"content": a_message().text},
    }


def test_dingtalk_is_signed_in_the_address():
    url, _, body = posted(Kind.DINGTALK, "SEC1")

    said = parse_qs(urlsplit(url).query)
    signed = hmac.digest(b"SEC1", f"{AT_MS}\nSEC1".encode(), "sha256")
    assert said == {
        "key": ["k"], "timestamp": [str(AT_MS)], "sign": [b64encode(signed).decode()],
    }  # fmt: skip
    assert orjson.loads(body)["markdown"]["text"] == a_message().text.replace("\n", "\n\n")


def test_lark_is_signed_in_the_body_over_an_empty_text():
    _, _, body = posted(Kind.LARK, "SEC1")

    said = orjson.loads(body)
    at_s = str(AT_MS // 1000)
    assert said["timestamp"] == at_s
    assert b64decode(said["sign"]) == hmac.digest(f"{at_s}\nSEC1".encode(), b"", "sha256")
    assert said["content"]["text"].startswith("CRITICAL negative-stock: 负库存")


def test_a_webhook_is_signed_as_standard_webhooks_are_and_repeats_have_one_id():
    _, headers, body = posted(Kind.WEBHOOK, WHSEC)
    again = posted(Kind.WEBHOOK, WHSEC)[1]

    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = b64decode(WHSEC.removeprefix("whsec_"))
    assert headers["webhook-signature"] == (
        "v1," + b64encode(hmac.digest(key, signed, "sha256")).decode()
    )
    assert again["webhook-id"] == headers["webhook-id"]
    (told,) = orjson.loads(body)["notices"]
    assert (told["alert"], told["said"], told["severity"]) == ("0192-4f09ac", "fired", "critical")
    assert len(body) < 20_000


@pytest.mark.parametrize(
    ("kind", "status", "body", "outcome"),
    [
        (Kind.WECOM, 200, b'{"errcode":0,"errmsg":"ok"}', Outcome.TAKEN),
        # A robot answers 200 to what it refuses.
        (Kind.WECOM, 200, b'{"errcode":45009,"errmsg":"freq"}', Outcome.THROTTLED),
        (Kind.WECOM, 200, b'{"errcode":-1,"errmsg":"busy"}', Outcome.AWAY),
        (Kind.WECOM, 200, b'{"errcode":93000,"errmsg":"invalid key"}', Outcome.REFUSED),
        (Kind.WECOM, 200, b'{"errcode":40058,"errmsg":"too long"}', Outcome.REFUSED),
        (Kind.WECOM, 200, b"<html>a captive portal</html>", Outcome.AWAY),
        (Kind.WECOM, 200, b'["errcode"]', Outcome.AWAY),
        (Kind.WECOM, 502, b"", Outcome.AWAY),
        (Kind.WECOM, 429, b"", Outcome.THROTTLED),
        (Kind.WECOM, 302, b"", Outcome.REFUSED),
        (Kind.DINGTALK, 200, b'{"errcode":130101}', Outcome.THROTTLED),
        (Kind.DINGTALK, 200, b'{"errcode":310000}', Outcome.REFUSED),
        (Kind.LARK, 200, b'{"code":0,"msg":"success"}', Outcome.TAKEN),
        (Kind.LARK, 200, b'{"StatusCode":0}', Outcome.TAKEN),
        (Kind.LARK, 200, b'{"code":11232}', Outcome.THROTTLED),
        (Kind.LARK, 200, b'{"code":19021}', Outcome.REFUSED),
        (Kind.WEBHOOK, 204, b"", Outcome.TAKEN),
        (Kind.WEBHOOK, 410, b"", Outcome.REFUSED),
        (Kind.WEBHOOK, 503, b"", Outcome.AWAY),
    ],
)
def test_an_answer_is_believed_by_what_it_says(
    kind: Kind, status: int, body: bytes, outcome: Outcome
):
    assert judged(kind, status, body).outcome is outcome


def test_a_channel_may_say_how_long_to_wait():
    assert judged(Kind.WEBHOOK, 503, b"", 90.0).wait_ms == 90_000
