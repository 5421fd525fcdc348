"""
The words: every message, row value and error that two rooms share.

Frozen msgspec Structs and enums, with no behaviour beyond "is this well formed".
This room imports nothing of ours and never touches the world.
"""
