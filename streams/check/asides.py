"""
What accompanies an order without being its event: the personal details, kept as last sent.

Only a hash of them is kept: nobody needs to read them to see that they are the same.
"""

from typing import NamedTuple


class Detail(NamedTuple):
    """The last details of one order."""

    version: int
    print: int


class Details:
    """The last details of every order."""

    def __init__(self) -> None:
        self.last: dict[str, Detail] = {}

    def take(self, order: str, version: int, body: bytes) -> None:
        """Take one letter; at one version the later word stands."""
        known = self.last.get(order)
        if known is None or version >= known.version:
            self.last[order] = Detail(version, hash(body))
