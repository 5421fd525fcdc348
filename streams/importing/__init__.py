"""
Emergency import: orders from a file, when the platform's own way is closed.

Theory of operation. A file becomes *rows*, rows become *orders*, and each order becomes one message
on its platform's raw topic, in the form that `streams/adapters/imported.py` reads. From there on
nothing is special: intake, the order keeper and the ledger do what they always do, so an order that
came by webhook, by poll and by import is one order, and running a file twice changes nothing.

    files      what the bytes are: kind, encoding, sheet; bombs are refused before they are opened
    cells      one cell as a value: ids digit for digit, times with their zone, money exactly
    templates  which column of which platform's export is which field, as data
    planning   rows that belong together as one order; a row that is bad, with field and reason
    forecast   what each order would meet, by intake's own rules and by what the ledger knows
    store      the job in PostgreSQL: who, why, how far
    running    a job from file to receipt, from wherever it stands
    pages      the same over HTTP

Promises: an unusable file is refused whole before anything is sent; a time without a zone is never
read in one that nobody named; a job that dies anywhere is finished by `orderflow import resume`,
and its receipt says what the order keeper decided, not what was hoped.
"""
