"""Without this file a folder `tests/agents` would shadow the package `agents`."""
