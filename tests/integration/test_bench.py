"""`orderflow bench` on the real broker, small: all figures are there, every count is compared."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from typer.testing import CliRunner

from agents.letters import seal
from schemas.errors import Misconfigured
from schemas.orders import StockAnswered
from streams.bench.broker import Heard
from streams.bench.commands import OrderKeeper, holds
from streams.bench.processes import Child, Sampler
from streams.bench.reserve import CountsDiffer, Ours, _compare, percentile
from streams.cli import benching
from streams.processes import cpu_s, family, files_open
from streams.settings import Settings
from tests.integration.conftest import ROOT, _addresses

pytestmark = pytest.mark.stack

RESERVE = {
    "ratio_to_faust", "cpu_ratio_to_faust", "rate", "rate_faust",
    "client_cpu_us", "client_cpu_us_faust",
    "broker_cpu_us", "broker_cpu_us_faust", "latency_p50_ms", "latency_p99_ms", "latency_p999_ms",
    "latency_max_ms", "records", "runs", "machine",
}  # fmt: skip
RECOVERY = {
    "rows",
    "recovery_s",
    "from_snapshots_s",
    "rows_per_s",
    "ready_s",
    "memory_mib",
    "open_orders",
}
FLOW = {
    "orders", "rate", "row_p50_ms", "row_p99_ms", "verdict_p99_ms", "intake_p99_ms",
    "keepers_p99_ms", "ledger_p99_ms", "exceptions", "workers_cpu_us",
}  # fmt: skip
MACHINE = {"cores", "cpu", "memory", "python", "kafka"}


@pytest.fixture(scope="module")
def stack() -> dict[str, str]:
    """What a command needs to find the stack."""
    found = _addresses()
    if "ORDERFLOW_KAFKA" not in found:
        pytest.fail("The stack is not there: `make up`.")
    return found


def bench(stack: dict[str, str], *args: str) -> dict[str, Any]:
    """Run a measurement; it ends with 0 only if everything came out once."""
    done = subprocess.run(
        [sys.executable, "-m", "streams.cli", "bench", *args, "--json"],
        env={**os.environ, **stack},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def test_a_small_reserve_counts_every_outcome_on_both_sides(stack: dict[str, str]):
    figures = bench(stack, "reserve", "--records", "2000", "--runs", "1", "--seconds", "1")

    assert figures.keys() >= RESERVE
    assert figures["machine"].keys() == MACHINE
    assert figures["records"] == 2_000
    assert figures["rate"] > figures["rate_faust"] > 0
    assert figures["latency_p50_ms"] <= figures["latency_p99_ms"] <= figures["latency_max_ms"]


def test_a_small_recovery_reads_every_row(stack: dict[str, str]):
    figures = bench(stack, "recovery", "--rows", "20000", "--orders", "300", "--runs", "1")

    assert figures.keys() >= RECOVERY
    assert figures["rows_per_s"] > 0


def test_what_was_written_over_is_read_again_and_a_snapshot_saves_it(stack: dict[str, str]):
    figures = bench(
        stack, "recovery", "--rows", "4000", "--writes", "12000", "--clean", "0", "--runs", "1"
    )

    empty, same = figures["empty"], figures["same"]
    # The last commit of the rows is never cleaned: 2,000 balances, 1,000 holds that came, 1,000
    # that went, and the state. The broker may have cleaned what is older, or not yet.
    assert 4_001 <= empty["records"] <= 4_001 + 3_001 + 2 * 4_001
    assert 0 < figures["tail"] <= same["records"] <= figures["tail"] + 100
    assert all(found["recovery_s"] > 0 and found["record_us"] > 0 for found in (empty, same))


def test_one_worker_is_measured_beside_two(stack: dict[str, str]):
    figures = bench(
        stack, "workers", "--workers", "2", "--workers", "1", "--records", "2000", "--runs", "1"
    )

    one, two = figures["workers"]
    assert (one["workers"], two["workers"]) == (1, 2)
    assert one["ratio"] == 1.0
    assert two["ratio"] == pytest.approx(two["rate"] / one["rate"], rel=0.02, abs=0.01)


def test_more_skus_weigh_more_and_each_number_of_them_is_measured(stack: dict[str, str]):
    figures = bench(
        stack, "skus", "--skus", "20000", "--skus", "100", "--records", "2000", "--runs", "1"
    )

    few, many = figures["skus"]
    assert (few["skus"], many["skus"]) == (100, 20_000)
    assert few["memory_ratio"] == 1.0
    assert many["memory_mib"] > few["memory_mib"] > 0


def test_latency_is_taken_at_every_load_of_the_step_and_of_the_chain(stack: dict[str, str]):
    figures = bench(
        stack, "latency", "--rate", "400", "--rate", "200", "--orders", "20", "--seconds", "1"
    )

    assert [row["asked"] for row in figures["step"]] == [200, 400]
    assert [row["asked"] for row in figures["chain"]] == [20]
    for row in (*figures["step"], *figures["chain"]):
        assert row["p50_ms"] <= row["p99_ms"] <= row["p999_ms"] <= row["max_ms"]
    assert figures["step"][0]["p99_ratio"] == figures["chain"][0]["p99_ratio"] == 1.0


def test_a_hot_sku_is_measured_beside_ten_thousand(stack: dict[str, str]):
    figures = bench(stack, "hot", "--records", "2000", "--runs", "1")

    assert figures["ratio_to_uniform"] > 0
    assert figures["rate_hot"] > 0


def test_every_hold_runs_out_after_its_deadline_and_none_before(stack: dict[str, str]):
    figures = bench(stack, "expiry", "--holds", "600", "--over", "1")

    assert figures["earliest_ms"] >= 0
    assert figures["earliest_ms_restart"] >= 0
    assert figures["late_p50_ms"] <= figures["late_p99_ms"] <= figures["late_max_ms"]
    assert figures["released_per_s"] > 0


def test_a_small_flow_brings_every_order_to_postgres(stack: dict[str, str]):
    figures = bench(stack, "flow", "--rate", "50", "--seconds", "2", "--burst", "500")

    assert figures.keys() >= FLOW
    assert figures["orders"] == 250
    assert figures["row_p50_ms"] <= figures["row_p99_ms"] <= figures["row_max_ms"]
    # Messages that nobody can read came among them, and every one is in the queue.
    assert figures["exceptions"] == 500


def test_a_measurement_that_is_interrupted_says_so_and_leaves_nothing_behind(
    stack: dict[str, str],
):
    bench = subprocess.Popen(
        [sys.executable, "-m", "streams.cli", "bench", "flow", "--rate", "20", "--json"],
        env={**os.environ, **stack}, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while len(workers := family(bench.pid)) < 4:  # itself, the supervisor, two workers
        assert time.monotonic() < until
        assert bench.poll() is None
        time.sleep(0.1)
    its = Path(f"/proc/{workers[-1]}/environ").read_bytes().decode().split("\0")
    told = dict(line.split("=", 1) for line in its if "=" in line)
    bench.send_signal(signal.SIGTERM)
    out, said = bench.communicate(timeout=120)

    assert bench.returncode == 130, said
    assert not out
    assert "there is no figure" in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    prefix, database = told["ORDERFLOW_TOPIC_PREFIX"], told["ORDERFLOW_POSTGRES_LEDGER"]
    assert prefix.startswith("bench-flow-")
    assert asyncio.run(_left(stack, prefix, database.rpartition("/")[2])) == []


async def _left(stack: dict[str, str], prefix: str, database: str) -> list[str]:
    """Return which of a measurement's topics and databases are still there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack["ORDERFLOW_KAFKA"])
    await admin.start()
    try:
        topics = [name for name in await admin.list_topics() if name.startswith(prefix)]
    finally:
        await admin.close()
    connection = await asyncpg.connect(stack["ORDERFLOW_POSTGRES_OWNER"])
    try:
        rows = await connection.fetch("SELECT 1 FROM pg_database WHERE datname = $1", database)
    finally:
        await connection.close()
    return [*topics, *(database for _ in rows)]


def test_a_machine_without_memory_measures_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(benching, "_MEMORY_MIB", 10**9)
    monkeypatch.setenv("ORDERFLOW_KAFKA", "127.0.0.1:1")

    refused = CliRunner().invoke(benching.app, ["hot"]).exception

    assert isinstance(refused, Misconfigured)
    assert "end something" in str(refused)


def test_a_missing_answer_is_no_figure():
    settings = Settings(kafka="nowhere:1")

    with pytest.raises(CountsDiffer, match="2 commands, 1 answers"):
        _compare(Ours(settings), range(2), [_answer(settings)], [])


def test_letters_of_one_sender_to_one_inbox_have_no_gap():
    keeper = OrderKeeper(Settings(kafka="nowhere:1", partitions=2))
    sent = [keeper.letters(holds(first, 50, 10)) for first in (0, 50)]

    numbers: dict[tuple[int, int], list[int]] = {}
    for lanes in sent:
        for (_, inbox), letters in lanes.items():
            for _, value, _ in letters:
                place = (inbox, int.from_bytes(value[2:4], "big"))
                numbers.setdefault(place, []).append(int.from_bytes(value[8:16], "big"))
    assert sum(map(len, numbers.values())) == 100
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


def test_a_percentile_is_a_value_that_was_met():
    assert percentile([1, 2, 3, 100], 0.5) == 3
    assert percentile([7], 0.99) == 7


def test_what_two_processes_take_is_added_up_and_their_files_are_counted():
    argv = [sys.executable, "-c", "while True: pass"]
    with Child("one", argv, {}) as one, Child("two", argv, {}) as two:
        began = time.time()
        with Sampler({"both": [one.pid, two.pid], "one": [one.pid]}) as sampler:
            while min(cpu_s(one.pid) or 0, cpu_s(two.pid) or 0) < 0.2:
                time.sleep(0.02)
        span = began * 1000, time.time() * 1000
        both, alone = sampler.between("both", *span), sampler.between("one", *span)
        assert both is not None
        assert alone is not None
        assert both > alone > 0
        assert (files_open(one.pid) or 0) >= 3
    assert files_open(one.pid) is None


def _answer(settings: Settings) -> Heard:
    (first,) = holds(0, 1, 10)
    return Heard(0, b"", seal(StockAnswered(order=first.order, sku=first.sku, attempt=1)), 0)


def test_a_worker_joins_and_goes_and_every_command_is_answered_once(stack: dict[str, str]):
    found = bench(stack, "join", "--rate", "200", "--seconds", "9")

    assert {"alone_pause_ms", "joining_pause_ms", "leaving_pause_ms", "machine"} <= found.keys()


def test_every_open_page_is_told_of_what_its_platform_says(stack: dict[str, str]):
    found = bench(stack, "live", "--pages", "25", "--rate", "25")

    assert found["pages"] == 25, "more than one user may have open"
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["max_ms"]


def test_every_page_of_the_console_is_asked_for_and_every_statement_explained(
    stack: dict[str, str],
):
    figures = bench(stack, "pages", "--orders", "300", "--asks", "2")

    assert figures["orders"] == 300
    assert {"one order", "to ship", "search: parcel"} <= {page["page"] for page in figures["pages"]}
    assert all(page["p50_ms"] <= page["p95_ms"] for page in figures["pages"])
    [events] = [each for each in figures["plans"] if each["statement"] == "events_of_order"]
    [[some, all_]] = events["partitions"].values()
    assert some <= all_
    assert figures["scans"] == []


def test_a_small_file_is_imported_once_and_is_a_duplicate_after_that(stack: dict[str, str]):
    figures = bench(stack, "import", "--rows", "100", "--xlsx")

    assert figures["verdicts"] == {"new": 100}
    assert figures["verdicts_again"] == {"duplicate": 100}
