"""
PostgreSQL: the ledger that sinks write and people read. The only room that speaks SQL.

`schema.py` builds it, `ledger.py` writes it, `sink.py` feeds the writer; who asks goes by
`streams/reads.py`.
"""
