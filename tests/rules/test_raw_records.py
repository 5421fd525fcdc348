"""A raw record is the same whoever sends it, and is only called sent when it cannot be lost."""

from streams.feed import sending
from streams.gateway import door
from streams.raw_records import headers_of, key_of, producer
from streams.settings import Settings


async def test_a_record_is_acknowledged_by_all_replicas_and_sent_once():
    made = producer(Settings(kafka="nowhere:1"), linger_ms=1)
    try:
        assert made._sender._acks == -1
        assert made._txn_manager is not None
    finally:
        await made.stop()


def test_the_feed_and_the_gateway_make_their_records_in_one_place():
    assert sending.raw_records.producer is door.producer is producer
    assert sending.raw_records.headers_of is door.headers_of is headers_of


def test_the_key_is_the_adapters_and_an_unknown_platform_has_none():
    assert key_of("douyin", b'[{"tag":"101","data":"{\\"p_id\\":6930114477820063171}"}]') == (
        b"6930114477820063171"
    )
    assert key_of("shopify", b"not json") is None
    assert key_of("ebay", b"{}") is None
