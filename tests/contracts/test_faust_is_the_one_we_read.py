"""
The engine overrides and leans upon methods of Faust, mode and aiokafka that promise nothing.

When one of these tests fails after an upgrade, read the method again, with what stands beside it
in mind; then see whether streams/engine still holds, run the chaos tests, and write down the new
hash.
"""

import hashlib
import importlib
import inspect
from importlib.metadata import version

import pytest

#: Place -> hash of its source, and what in streams/engine rests on it.
READ: dict[str, tuple[str, str]] = {
    "faust.transport.utils:DefaultSchedulingStrategy.iterate": (
        "aa1147fa5c21",
        "frames: overridden",
    ),
    "faust.transport.consumer:Consumer.getmany": (
        "4b168d84882a",
        "frames: what is yielded, and what is dropped while the flow is stopped",
    ),
    "faust.transport.consumer:Consumer._wait_next_records": (
        "6218e1969a63",
        "transport: overridden; `_getmany` gets the live set of active partitions",
    ),
    "faust.transport.consumer:Consumer._drain_messages": (
        "44a2500309e8",
        "frames: polls are numbered, because what lies below `_read_offset` is dropped",
    ),
    "faust.transport.consumer:Consumer.perform_seek": (
        "0e8c130ff4b0",
        "transport: overridden",
    ),
    "faust.transport.consumer:Consumer.pause_partitions": (
        "27a1c94bdacd",
        "rounds: holds partitions back",
    ),
    "faust.transport.consumer:Consumer.resume_partitions": (
        "afe6b7c02a41",
        "rounds: lets partitions go",
    ),
    "faust.transport.consumer:Consumer.on_partitions_revoked": (
        "d04b7ae72c6f",
        "transport: overridden, calls this one",
    ),
    "faust.transport.consumer:Consumer.on_partitions_assigned": (
        "29ce96596f05",
        "transport: overridden, calls this one",
    ),
    "faust.transport.consumer:ThreadDelegateConsumer._getmany": (
        "f9d47aa9010b",
        "transport: overridden",
    ),
    "faust.transport.drivers.aiokafka:Consumer._new_consumer_thread": (
        "0870ec53dea7",
        "transport: overridden",
    ),
    "faust.transport.drivers.aiokafka:Consumer._to_message": (
        "7c24f6511b2f",
        "frames: what a frame must look like",
    ),
    "faust.transport.drivers.aiokafka:Consumer.verify_event_path": (
        "a17e8f0610e1",
        "transport: silenced",
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.on_start": (
        "38b4e8bd1e10",
        "transport: the fetcher exists after it",
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._create_worker_consumer": (
        "c2701bfc3e6f",
        "transport: tuned after it",
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread.getmany": (
        "26fc5fc9f3b6",
        "transport: overridden",
    ),
    "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread._fetch_records": (
        "39a2c6c79fc1",
        "transport: called by our getmany",
    ),
    "faust.transport.drivers.aiokafka:ConsumerRebalanceListener.on_partitions_revoked": (
        "348c3aec879f",
        "transport: order of revoking",
    ),
    "faust.transport.drivers.aiokafka:ConsumerRebalanceListener.on_partitions_assigned": (
        "1c1f8406ad36",
        "rounds: when the generation changes",
    ),
    "faust.transport.drivers.aiokafka:Producer._settings_default": (
        "9c39987fb719",
        "producer: max_batch_size, acks",
    ),
    "faust.transport.drivers.aiokafka:Producer._settings_extra": (
        "a4c7bc41b638",
        "producer: overridden",
    ),
    "faust.transport.drivers.aiokafka:Producer._new_producer": (
        "e72355c3430e",
        "producer: uses `_settings_extra`",
    ),
    "faust.transport.drivers.aiokafka:Producer._ensure_producer": (
        "5592a4bbdf25",
        "producer: the aiokafka producer under it",
    ),
    "faust.transport.conductor:ConductorCompiler.build": (
        "837cf521368c",
        "rounds: how a frame reaches the listener",
    ),
    "faust.app.base:App._on_partitions_revoked": (
        "d5c895bbe57d",
        "rounds: the flow is stopped and queues cleared before `closed`",
    ),
    "faust.app.base:App._on_partitions_assigned": (
        "de932b7927db",
        "store: order of on_rebalance and recovery",
    ),
    "faust.app.base:App._update_assignment": (
        "39d9f315c122",
        "store: what counts as newly assigned",
    ),
    "faust.app.base:App.on_rebalance_end": (
        "b7ff69e1e377",
        "app: overridden; everything is resumed by then",
    ),
    "faust.app.base:App._new_consumer": (
        "bff6ccd646b7",
        "app: uses app.transport",
    ),
    "faust.app.base:App._new_producer": (
        "e7e1814e715d",
        "app: uses app.transport",
    ),
    "faust.app.base:App._stop_consumer": (
        "55854a5de12c",
        "app: how a group is left",
    ),
    "faust.tables.manager:TableManager.on_rebalance": (
        "2d2c23a07bf5",
        "store: tables before recovery",
    ),
    "faust.tables.manager:TableManager._update_channels": (
        "88e3941facc9",
        "store: how changelogs are read",
    ),
    "faust.tables.base:Collection.on_recovery_completed": (
        "b1526fb39ea0",
        "store: calls the store's",
    ),
    "faust.tables.base:Collection._new_store": (
        "914a2bda605d",
        "store: overridden",
    ),
    "faust.tables.base:Collection.persisted_offset": (
        "d473d3ab3fd6",
        "store: asks the store",
    ),
    "faust.tables.recovery:Recovery._add": (
        "1584a197b11b",
        "store: `persisted_offset` beats what was read before",
    ),
    "faust.tables.recovery:Recovery.on_rebalance": (
        "aa4d997a1795",
        "store: offsets of kept partitions are kept",
    ),
    "faust.tables.recovery:Recovery.on_recovery_completed": (
        "6ef567acf072",
        "store, rounds: exceptions are ignored; order of seek, clear and resume",
    ),
    "faust.tables.recovery:Recovery._resume_streams": (
        "d986a6710c1a",
        "rounds: the same, without tables",
    ),
    "faust.tables.recovery:Recovery._restart_recovery": (
        "6bd8a8558a2d",
        "store: when a pass begins and ends",
    ),
    "faust.tables.recovery:Recovery._slurp_changelogs": (
        "7825c7e50f76",
        "store: frames are buffered, errors only logged",
    ),
    "faust.tables.recovery:Recovery._build_offsets": (
        "27eec86be06c",
        "store: earliest - 1",
    ),
    "faust.tables.recovery:Recovery._build_highwaters": (
        "91b4cc0d3724",
        "store: end - 1",
    ),
    "faust.tables.recovery:Recovery._seek_offsets": (
        "19598ca63d94",
        "store: begins at the last offset known",
    ),
    "faust.tables.recovery:Recovery.need_recovery": (
        "fd1dc345b5d5",
        "keeper: when a recovery ends",
    ),
    "faust.tables.recovery:Recovery.flush_buffers": (
        "6fa9c17f1071",
        "store: buffers are applied before a new pass",
    ),
    "mode.utils.queues:FlowControlEvent.resume": (
        "4dcdc1253fd0",
        "rounds: clears the queues",
    ),
    "mode.utils.queues:FlowControlQueue.clear": (
        "fa9a86f6b097",
        "rounds: the frames in it are gone",
    ),
    "mode.services:Service.wait_until_stopped": (
        "9e611b6def19",
        "app: how a crash is noticed",
    ),
    "aiokafka.consumer.fetcher:Fetcher.__init__": (
        "bf21ecb7e0f2",
        "transport: `_prefetch_backoff`",
    ),
    "aiokafka.consumer.fetcher:Fetcher._get_actions_per_node": (
        "1dab2cf937d1",
        "transport: what holds a fetch back",
    ),
    "aiokafka.consumer.fetcher:Fetcher.fetched_records": (
        "be4348896b9b",
        "transport: partitions that are not asked for stay buffered",
    ),
    "aiokafka.consumer.fetcher:Fetcher._proc_fetch_request": (
        "59bf948fff47",
        "transport: results are put into `_records`, one by one",
    ),
    "aiokafka.consumer.fetcher:FetchResult": (
        "d7db13f06de8",
        "transport: `_partition_records` makes the records",
    ),
    "aiokafka.consumer.fetcher:PartitionRecords": (
        "94aa0da0dbec",
        "transport: `_consumer_record` replaced; offsets do not depend on it",
    ),
    "aiokafka.consumer.consumer:AIOKafkaConsumer.start": (
        "2f1ba7044332",
        "transport: reads `_fetch_max_wait_ms`, `_fetch_max_bytes`",
    ),
    "aiokafka.consumer.consumer:AIOKafkaConsumer.seek": (
        "a9430f1f3b9a",
        "transport: to be called in its own loop",
    ),
    "aiokafka.producer.producer:AIOKafkaProducer.send_batch": (
        "bf42b0f0c5c0",
        "producer: a batch of our own",
    ),
    "aiokafka.producer.message_accumulator:BatchBuilder": (
        "8050802ca751",
        "producer: built by us",
    ),
    "aiokafka.producer.message_accumulator:MessageAccumulator.add_batch": (
        "5ed1c5b1367a",
        "producer: one waiting batch a partition",
    ),
    "aiokafka.producer.message_accumulator:MessageAccumulator._append_batch": (
        "4762abfc42cb",
        "producer: called by us where nothing waits",
    ),
    "aiokafka.producer.message_accumulator:MessageAccumulator._pop_batch": (
        "41cc98a298ef",
        "producer: sequence numbers of the idempotent producer",
    ),
    "aiokafka.producer.sender:SendProduceReqHandler.handle_response": (
        "850323cc8f77",
        "keeper: -1 as the offset of a repeated batch",
    ),
    "aiokafka.partitioner:murmur2": (
        "62179ca18494",
        "partitions: the reference",
    ),
}


@pytest.mark.parametrize("place", READ)
def test_the_source_is_the_one_that_was_read(place: str):
    module, _, path = place.partition(":")
    found = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    # A task of a mode service is an object around its function.
    source = inspect.getsource(inspect.unwrap(getattr(found, "fun", found)))

    read, why = READ[place]
    assert hashlib.sha256(source.encode()).hexdigest()[:12] == read, why


@pytest.mark.parametrize(
    ("distribution", "pinned"),
    [("faust-streaming", "0.15.3"), ("aiokafka", "0.14.0"), ("mode-streaming", "0.7.1")],
)
def test_the_versions_are_the_ones_that_were_read(distribution: str, pinned: str):
    assert version(distribution) == pinned
