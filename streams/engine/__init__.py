"""
The engine: keepers, stateless agents and sinks on Faust's own extension points.

Faust gives membership, assignment, rebalancing and changelog recovery. What it does not give,
exactly-once without transactions, is here: frames, rounds, positions, one atomic batch a commit.
Nothing in here knows an order or a SKU.
"""
