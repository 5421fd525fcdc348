"""The house itself: directions, names, routes and pages that must not go stale."""

import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from msgspec import Struct

from agents.letters import Form
from schemas import channels as channel_words
from schemas import orders as order_words
from schemas import parked as parked_words
from schemas import stock as stock_words
from streams.topics import CHANNEL_EVENTS, PLATFORMS, TOPICS, changelog
from streams.topology import LISTENERS, ROUTES, picture

ROOT = Path(__file__).parent.parent
OURS = {"schemas", "tables", "agents", "streams"}


def messages() -> set[type]:
    """Every tagged Struct that our words declare: what may travel on a topic."""
    found = set()
    for module in (order_words, stock_words, parked_words, channel_words):
        for kind in vars(module).values():
            if not isinstance(kind, type) or not issubclass(kind, Struct):
                continue
            if kind.__struct_config__.tag and not kind.__subclasses__():
                found.add(kind)
    return found


def test_no_installed_distribution_claims_our_package_names() -> None:
    claimed = {
        name: others
        for name, owners in packages_distributions().items()
        if name in OURS and (others := sorted(set(owners) - {"orderflow"}))
    }

    assert claimed == {}


def test_every_message_has_a_route_and_every_route_a_message() -> None:
    assert set(ROUTES) == messages()


def test_every_route_leads_to_a_declared_topic_that_somebody_reads_or_the_public_does() -> None:
    declared = {topic.name for topic in TOPICS}
    read = {topic.name for listener in LISTENERS.values() for topic in listener.reads}
    # Nobody of the house listens to them; they are for alarms and subscribers.
    read.add(CHANNEL_EVENTS.name)

    for kind, route in ROUTES.items():
        assert route.topic in declared, kind
        assert route.topic in read, kind


def test_one_writer_per_table_and_one_changelog_per_table() -> None:
    tables = [listener.owns for listener in LISTENERS.values() if listener.owns]

    assert len({table.number for table in tables}) == len(tables)
    assert {changelog(table.name).name for table in tables} <= {topic.name for topic in TOPICS}


def test_public_events_are_filed_in_their_keepers_own_partition() -> None:
    for kind, route in ROUTES.items():
        if route.form is Form.EVENT and route.topic != CHANNEL_EVENTS.name:  # no keeper tells those
            assert route.home, f"{kind.__name__} would lose the order of its keeper"


def test_topic_names_are_lower_case_with_hyphens() -> None:
    for topic in TOPICS:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", topic.name), topic.name


def test_every_platform_has_a_raw_topic() -> None:
    assert {f"raw-orders-{platform}" for platform in PLATFORMS} <= {topic.name for topic in TOPICS}


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_picture_on_a_page_is_the_one_the_topology_draws(page: str) -> None:
    assert picture().strip() in (ROOT / page).read_text(), (
        f"{page} is stale: put the output of `orderflow topology` into it"
    )


def test_the_state_machines_page_is_the_one_the_tables_draw() -> None:
    from streams.drawings import page  # noqa: PLC0415

    assert (ROOT / "docs/state-machines.md").read_text() == page(), (
        "docs/state-machines.md is stale: `orderflow state-machines > docs/state-machines.md`"
    )


def test_no_two_statements_of_sql_have_one_name() -> None:
    names = [
        name
        for path in (ROOT / "streams" / "postgres").glob("*.sql")
        for name in re.findall(r"^-- name: (\w+)$", path.read_text(), re.MULTILINE)
    ]

    assert len(names) == len(set(names))


def test_only_settings_reads_a_variable_of_the_environment() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for room in OURS
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"os\.environ(\[|\.get)|os\.getenv", path.read_text())
    }

    assert readers <= {"streams/settings.py"}, readers


def test_t50_t53_t54_nothing_rests_on_what_faust_does_not_keep() -> None:
    """No table of everybody's, no window, no repartitioning, no transactions of the engine's."""
    forbidden = re.compile(
        r"GlobalTable|\.(tumbling|hopping|group_by|repartition|through)\(|EXACTLY_ONCE|exactly_once"
    )
    for room in OURS:
        for path in (ROOT / room).rglob("*.py"):
            assert not forbidden.search(path.read_text()), path


def test_no_clock_randomness_or_io_in_tables_and_schemas() -> None:
    forbidden = re.compile(
        r"datetime\.now|time\.time\(|time\.monotonic|import random|uuid4"
        r"|import asyncio|(?<![\w.])open\("
    )
    for room in ("tables", "schemas", "agents"):
        for path in (ROOT / room).rglob("*.py"):
            assert not forbidden.search(path.read_text()), path
