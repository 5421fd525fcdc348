"""Every peer, once: who it is, what it promises, how much it is given, how it is measured."""

from streams.bench.reserve import Ours, faust_way
from tests.bench.peer import Peer, over_kafka

OURS = "orderflow"

PEERS = (
    Peer(
        name=OURS,
        title="orderflow",
        crash="exactly once, letters numbered",
        records=150_000,
        measure=over_kafka(Ours),
    ),
    Peer(
        name="faust",
        title="Faust, one agent, two tables",
        crash="repeats, and losses",
        records=8_000,
        measure=over_kafka(faust_way),
    ),
)
