"""
The whole house in one process, on a log that is a list.

    house.py     both keepers by hand: what a test of rules or flows needs
    town.py      the workers themselves, the engine's rounds and all, under a seeded plan of faults
    witness.py   what must hold after every step, judged by code that shares nothing with the house

`python -m tests.simulation --seed 7` replays a town (`--help` has the rest).
"""

from tests.simulation.house import _DEATHS, Crash, House, Keeper, Record, words

__all__ = ["_DEATHS", "Crash", "House", "Keeper", "Record", "words"]
