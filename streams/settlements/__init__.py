"""
Finance reconciliation: platforms' settlement files against our orders.

Theory of operation. A file becomes *lines*: one amount each, of one kind, of one order or of none.
Lines are kept once, however many files have them. What they add up to is compared with the order,
by the rule in `agents/settlements.py`; what differs is a difference until a person resolves it, for
the facts as they were then.

    templates  which column of which platform's file is what, as data
    reading    a file's rows as lines; all of it, or the rows that are bad
    store      files, lines, sums and resolutions in PostgreSQL
    judging    every order that a file touches, or that no file has, judged and written
    taking     a file looked at, or taken, from its bytes to its differences

Promises: a file is taken whole, in one transaction, or not at all; the same file twice is one file,
and the same movement in two files counts once; nothing here changes an order.
"""
