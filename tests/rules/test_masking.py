"""What is personal or secret is hidden wherever it is quoted; what is not stays readable."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.orders import Receiver
from streams import logs
from streams.masking import masked, reason, shown

#: One of each kind; none may be found in anything that leaves the house.
CANARIES = {
    "name": "欧阳金丝雀",
    "phone": "13800138000",
    "address": "Canary Lane 17, Room 903",
    "email": "canary@feathers.example",
    "identity": "11010519491231002X",
    "secret": "canary-secret-8f2e",
}
PAYLOAD: dict[str, Any] = {
    "tid": 1,
    "receiver_name": CANARIES["name"],
    "deep": [{"receiver": {"mobile": CANARIES["phone"], "town": {"x": CANARIES["email"]}}}],
    "receiver_address": CANARIES["address"],
    "buyer_message": f"call {CANARIES['phone']} or {CANARIES['identity']}",
    "id_card_no": CANARIES["identity"],
    "sign_text": f"https://x.example/cgi?key={CANARIES['secret']}&access_token={CANARIES['secret']}",
    "info": json.dumps({"consignee": CANARIES["name"], "addr": CANARIES["address"]}),
}


def leaks(said: Any) -> list[str]:
    """Canaries that are found in *said*, as they are or escaped."""
    text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False, default=str)
    return [
        kind
        for kind, value in CANARIES.items()
        if value in text or json.dumps(value)[1:-1] in text or repr(value)[1:-1] in text
    ]


TEXTS = {
    "JSON": json.dumps(PAYLOAD, ensure_ascii=False),
    "JSON in ASCII": json.dumps(PAYLOAD),
    "JSON in JSON": json.dumps({"data": json.dumps(PAYLOAD)}),
    "cut off": json.dumps({"receiver_address": CANARIES["address"]})[:-2],
    "Python's dict": f"cannot read {PAYLOAD!r}",
    "our Struct": f"a bug with {Receiver(name=CANARIES['name'], address=CANARIES['address'])!r}",
    "a header": f"Authorization: Bearer {CANARIES['secret']}",
    "words": f"app_secret={CANARIES['secret']} was refused; mail {CANARIES['email']}",
    "query": f"POST /x?receiver_name={CANARIES['name']}&sign={CANARIES['secret']} HTTP/1.1",
    "an address": f"postgresql://orderflow:{CANARIES['secret']}@db.example/x does not answer",
    "numbers": f"tel:{CANARIES['phone']}, id {CANARIES['identity']}, 138-0013-8000",
}


@pytest.mark.parametrize("form", TEXTS)
def test_a_canary_is_hidden_in_whatever_form_it_is_quoted(form: str):
    assert leaks(TEXTS[form])
    assert leaks(masked(TEXTS[form])) == []


def test_a_payload_is_shown_without_its_person_and_with_its_order():
    said = shown(json.dumps(PAYLOAD, ensure_ascii=False).encode())

    assert leaks(said) == []
    assert said["tid"] == 1


@pytest.mark.parametrize(
    "said",
    [
        "orders: stock-commands/3/1207 is halted",
        "raw-orders-taobao/3/1207: orders.order[0].num: 0 is not above 0",
        "order taobao:qingyou:2810001234567890123, 4 lines",
        "http://127.0.0.1:8086/readyz?order=123&sku=BASKET-L",
        "an order of 123456789012345678 units",
        'metric{stage="orders",outcome="decided"} 3',
    ],
)
def test_what_is_not_personal_stays_as_it_is(said: str):
    assert masked(said) == said


def test_a_reason_does_not_quote_what_is_personal():
    name, address = CANARIES["name"], CANARIES["address"]

    assert leaks(reason(f"receiver.name: '{name}' is long", "receiver.name", "malformed")) == []
    assert leaks(reason(f"receiver_address: {address}", "receiver_address", "malformed")) == []
    assert leaks(reason(f"KeyError: '{name}'", "", "bug")) == []
    assert reason("num: '0' is not above 0", "orders[0].num", "malformed") == (
        "num: '0' is not above 0"
    )


def test_nothing_of_it_is_logged_in_fields_sentences_or_tracebacks(tmp_path: Path):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        logs.set_up("debug", tmp_path / "log")
        logger = logging.getLogger("streams.canary")
        logger.info("a message: %s", TEXTS["JSON"])
        logger.warning("with a value: %s", PAYLOAD)
        logger.error("with fields", extra={"payload": PAYLOAD, "receiver": CANARIES["name"]})
        try:
            int(TEXTS["Python's dict"])
        except ValueError:
            logger.exception("a traceback: %s", TEXTS["query"])
        logger.info("args", stack_info=True, exc_info=sys.exc_info())
        for handler in root.handlers:
            handler.flush()
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:], _ = before
        root.setLevel(before[1])
    written = (tmp_path / "log").read_text()

    assert "a traceback" in written
    assert "Traceback (most recent call last)" in written
    assert leaks(written) == []
