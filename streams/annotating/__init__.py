"""
What the company's own people note of an order: labels and fields that they define themselves.

    definitions  what a label and a field may be, and what an order may carry of them; no I/O
    table        both in PostgreSQL: defined, noted, with a history
    leases       who has a form open, in Redis

Promises. What orders carry is never lost by a change of what may be carried. Of two people who
change one order the second is refused, by its version in PostgreSQL; a lease only shows who is at
it, and nothing depends on it. Neither the keepers nor the ledger know anything of all this.
"""
