"""
Feeding the raw topics: payloads from files as they are, or generated orders of a seeded trade.

What is fed takes the way that every platform's message takes. The log of what was sent and where
the broker put it lets a checker, who trusts nobody, compare.
"""
