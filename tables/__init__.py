"""
The memory and its rules: one module a table, and in it the only functions that may change its rows.

Pure: no clock, no randomness, no I/O, no settings. The same commands give the same rows and the
same letters, byte for byte, on every machine and under every hash seed.
"""
