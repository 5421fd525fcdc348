"""
Measurements of this installation, one a module; `orderflow bench --help` lists them.

`intake` runs in one process and needs no stack. Each of the others brings its own topics (and
database) on the stack that is there, measures by the clock of the broker or the database, reads
everything back, and leaves nothing behind. docs/benchmarks.md says what is compared and what the
figures were.
"""
