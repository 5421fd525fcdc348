"""
I7: what every sender numbered on every topic partition runs 1, 2, 3 … without a gap.

A repeat is allowed and counted; it must be the same, byte for byte. Of every letter one 64-bit
fingerprint is kept, so a million letters take 8 MB.
"""

from array import array

from streams.check.report import Claim, Place

#: Stands for a number nobody has sent yet.
_MISSING = 0
#: A jump beyond this is a foreign number, not a gap.
_GAP_MAX = 1_000_000


class Lanes:
    """All letters and events seen so far, by topic, partition and sender."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._seen: dict[tuple[str, int, str], array[int]] = {}
        self._epochs: dict[tuple[str, int, str], int] = {}
        self.repeats = 0
        self.letters = 0

    def fresh(self, sender: str, epoch: int, number: int, print_: int, place: Place) -> bool:
        """Count one letter of *sender*; say whether it is heard for the first time."""
        lane = (place.topic, place.partition, sender)
        seen = self._seen.get(lane)
        if seen is None:
            seen = self._seen[lane] = array("q")
            self._epochs[lane] = epoch
        self.letters += 1
        if epoch != self._epochs[lane]:
            self._new_epoch(lane, epoch, place)
        last = len(seen)
        if number == last + 1:
            seen.append(print_ or 1)
            return True
        if 0 < number <= last and seen[number - 1] != _MISSING:
            self.repeats += 1
            if seen[number - 1] != (print_ or 1):
                self._claim.figures["contradictions"] += 1
                self._claim.wrong(
                    f"{place}: letter {number} of {sender}",
                    "the same bytes as when it was sent first",
                    "other bytes under the same number",
                )
            return False
        return self._out_of_line(seen, sender, number, print_, place)

    def _new_epoch(self, lane: tuple[str, int, str], epoch: int, place: Place) -> None:
        if epoch < self._epochs[lane]:
            self._claim.wrong(
                f"{place}: {lane[2]}", f"epoch {self._epochs[lane]}", f"epoch {epoch}"
            )
        self._epochs[lane] = max(epoch, self._epochs[lane])

    def _out_of_line(
        self, seen: "array[int]", sender: str, number: int, print_: int, place: Place
    ) -> bool:
        last = len(seen)
        if 0 < number <= last:
            seen[number - 1] = print_ or 1
            self._claim.wrong(f"{place}: letter {number} of {sender}", "in its turn", "too late")
            return True
        missing = number - last - 1
        if number <= 0 or missing > _GAP_MAX:
            self._claim.wrong(f"{place}: {sender}", f"letter {last + 1}", f"letter {number}")
            return False
        self._claim.figures["missing"] += missing
        self._claim.wrong(f"{place}: {sender}", f"letter {last + 1}", f"letter {number}")
        seen.extend([_MISSING] * missing)
        seen.append(print_ or 1)
        return True

    def last(self, topic: str, partition: int, sender: str) -> int:
        """Return the greatest number of *sender* on one topic partition."""
        return len(self._seen.get((topic, partition, sender), ()))

    def ends(self) -> dict[tuple[str, int, str], int]:
        """Return the greatest number of every lane."""
        return {lane: len(seen) for lane, seen in self._seen.items()}

    def close(self) -> None:
        """Put the figures into the claim."""
        figures = self._claim.figures
        figures["letters"] += self.letters
        figures["repeats"] += self.repeats
        figures["missing"] += 0
        figures["contradictions"] += 0
        figures["repeats_per_mille"] = round(1000 * self.repeats / max(1, self.letters))
