"""
Whatever is done to a payload, it parses or is Rejected; nothing else leaves an adapter.

Every run tries a slice that the commit chooses, so that each commit tries another one, and a red
run is red again. `make fuzz` tries for MINUTES a platform (20), with a seed that it prints.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from schemas.errors import Rejected
from schemas.orders import Statement
from streams.adapters import ADAPTERS, adapter_for
from tests.adapters.samples import PAYLOADS

SAMPLES = {
    platform: [
        path.read_bytes()
        for path in sorted((PAYLOADS / folder).glob("*.json"))
        if not path.name.endswith(".expected.json")
    ]
    for platform in ADAPTERS
    for folder in ["taobao" if platform == "tmall" else platform]
}


def _slice() -> int:
    """The seed of this run: as given, or the commit's; without git always the same."""
    if given_ := os.environ.get("ORDERFLOW_FUZZ_SEED"):
        return int(given_)
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, check=True, cwd=PAYLOADS
        )
        return int(head.stdout[:12], 16)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 1


#: How many times as many examples as in a usual run.
TIMES = int(os.environ.get("ORDERFLOW_FUZZ_TIMES", "1"))
SEED = _slice()


def tries(examples: int) -> Callable[[Any], Any]:
    """Let a law be tried on so many examples of this run's slice."""

    def tried(law: Any) -> Any:
        return seed(SEED)(
            settings(max_examples=examples * TIMES, deadline=None, database=None)(law)
        )

    return tried


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=30),
    st.sampled_from(["", "0", "-1", "NaN", "1e400", "0001-01-01 00:00:00", "\0", "[]", "{}"]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
)


def _sample(platform: str) -> st.SearchStrategy[bytes]:
    places = st.integers(0, len(SAMPLES[platform]) - 1)
    return places.map(lambda place: SAMPLES[platform][place])


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, part in inner:
        found.append((*at, key))
        if isinstance(part, (dict, list)):
            found += _places(part, (*at, key))
    return found


def _put(body: Any, place: tuple[Any, ...], value: Any) -> None:
    *parents, last = place
    for key in parents:
        body = body[key]
    body[last] = value


def _parses_or_is_rejected(platform: str, payload: bytes) -> None:
    adapter = adapter_for(platform)
    key = adapter.key_of(payload)
    assert key is None or isinstance(key, bytes)
    try:
        statements = adapter.parse(payload, "shop")
    except Rejected:
        return
    # What parsed keeps every limit of the words: the decoder checks them all.
    for statement in statements:
        wire = msgspec.msgpack.encode(statement)
        assert msgspec.msgpack.decode(wire, type=Statement) == statement


@pytest.mark.parametrize("platform", ADAPTERS)
@tries(200)
@given(data=st.data())
def test_any_value_anywhere_parses_or_is_rejected(platform: str, data: st.DataObject) -> None:
    body = orjson.loads(data.draw(_sample(platform)))
    places = _places(body)
    for _ in range(data.draw(st.integers(1, 3))):
        place, value = data.draw(st.sampled_from(places)), data.draw(STRANGE)
        # An earlier change may have taken the place away.
        with contextlib.suppress(TypeError, KeyError, IndexError):
            _put(body, place, value)

    _parses_or_is_rejected(platform, json.dumps(body).encode())


@pytest.mark.parametrize("platform", ADAPTERS)
@tries(100)
@given(data=st.data())
def test_any_bytes_changed_parse_or_are_rejected(platform: str, data: st.DataObject) -> None:
    payload = bytearray(data.draw(_sample(platform)))
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place] = data.draw(st.integers(0, 255))

    _parses_or_is_rejected(platform, bytes(payload))


@pytest.mark.parametrize("platform", ADAPTERS)
@tries(100)
@given(payload=st.binary(max_size=200))
def test_any_bytes_at_all_parse_or_are_rejected(platform: str, payload: bytes) -> None:
    _parses_or_is_rejected(platform, payload)
