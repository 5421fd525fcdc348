"""Every peer, once: who it is, what it promises, how much it is given, how it is measured."""

import sys
from dataclasses import replace

from streams.bench.reserve import Ours, faust_way
from streams.topics import changelog
from tests.bench import postgres, redis
from tests.bench.dbos import side as dbos
from tests.bench.installing import libraries, way
from tests.bench.kafka_streams import side as kafka_streams
from tests.bench.peer import Peer, over_kafka, program
from tests.bench.restate import side as restate

OURS = "orderflow"
_COMPACTED = {"cleanup.policy": "compact"}
#: Where the plain loops keep their rows.
PLAIN = (replace(changelog("stock"), name="plain-changelog", config=_COMPACTED),)
_LOOP = "answers repeated; an event may be missing, a hold doubled"

PEERS = (
    Peer(
        name=OURS,
        title="orderflow",
        crash="exactly once, letters numbered",
        records=150_000,
        measure=over_kafka(Ours),
    ),
    Peer(
        name="orderflow-flushed",
        title="orderflow, broker flushes each append",
        crash="exactly once, letters numbered",
        kept="on disk (flush.messages=1)",
        records=100_000,
        measure=over_kafka(Ours, flushed=True),
    ),
    Peer(
        name="faust",
        title="Faust, one agent, two tables",
        crash="repeats, and losses",
        records=6_000,
        measure=over_kafka(faust_way),
    ),
    Peer(
        name="quix",
        title="Quix Streams, at least once",
        crash="answers and events repeated",
        records=40_000,
        measure=program("Quix Streams", *way("ways.quix"), "at-least-once"),
        prepare=libraries("quixstreams"),
    ),
    Peer(
        name="quix-eos",
        title="Quix Streams, exactly once",
        crash="exactly once, for readers of committed records",
        records=40_000,
        measure=program("Quix Streams", *way("ways.quix"), "exactly-once", transactional=True),
        prepare=libraries("quixstreams"),
    ),
    Peer(
        name="aiokafka",
        title="plain loop on aiokafka",
        crash=_LOOP,
        records=30_000,
        measure=program(
            "aiokafka", sys.executable, "-m", "tests.bench.ways.aiokafka_loop", topics=PLAIN
        ),
    ),
    Peer(
        name="confluent",
        title="plain loop on confluent-kafka",
        crash=_LOOP,
        records=60_000,
        measure=program("confluent-kafka", *way("ways.confluent_loop"), topics=PLAIN),
        prepare=libraries("confluent_kafka", "orjson"),
    ),
    Peer(
        name="kafka-streams",
        title="Kafka Streams, at least once",
        crash="answers and events repeated; an event may be missing",
        records=100_000,
        measure=kafka_streams.app("at_least_once"),
        prepare=kafka_streams.build,
        memory_mib=1_500,
    ),
    Peer(
        name="kafka-streams-eos",
        title="Kafka Streams, exactly once v2",
        crash="exactly once, for readers of committed records",
        records=60_000,
        measure=kafka_streams.app("exactly_once_v2"),
        prepare=kafka_streams.build,
        memory_mib=1_500,
    ),
    Peer(
        name="restate",
        title="Restate, a virtual object for each SKU",
        crash="state exactly once; answers and events repeated",
        records=3_000,
        measure=restate.objects(),
        prepare=restate.prepare,
        memory_mib=1_500,
    ),
    Peer(
        name="dbos",
        title="DBOS, a workflow for each command",
        crash="rows exactly once; answers and events repeated",
        records=2_000,
        measure=dbos.workflows(),
        prepare=libraries("dbos", "confluent_kafka", "orjson"),
    ),
    *(
        Peer(
            name=f"postgres-hot-{clients}" if hot else f"postgres-{clients}",
            title=f"PostgreSQL, {'one hot row' if hot else 'uniform rows'}, {clients} client"
            + "s" * (clients > 1),
            crash="exactly once; who hears no answer must look",
            kept="on disk (synchronous_commit)",
            records=records,
            measure=postgres.transactions(clients, hot=hot),
        )
        for hot, sizes in (
            (True, (2_000, 3_000, 3_000, 3_000)),
            (False, (2_000, 8_000, 12_000, 12_000)),
        )
        for clients, records in zip((1, 8, 32, 64), sizes, strict=True)
    ),
    *(
        Peer(
            name=f"redis-{clients}",
            title=f"Redis, a Lua script, {clients} client" + "s" * (clients > 1),
            crash="exactly once; who hears no answer must look",
            kept="on disk (appendfsync always)",
            records=records,
            measure=redis.scripts(clients),
            prepare=redis.ready,
        )
        for clients, records in ((1, 3_000), (64, 20_000))
    ),
)
