"""
`make bench`: the reserve job by orderflow and by what others would take for it.

`python -m tests.bench --list` says who they are. A peer is one line of `peers.py`: its name, how
much it is given, and how it is measured (`peer.py`). One that reads and writes Kafka is a program
that takes four arguments (`streams.bench.reserve.JsonSide`); its sources are in `ways/` or in a
folder of its own. docs/benchmarks.md has the table that comes out.
"""
