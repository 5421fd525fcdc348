"""
I7: what every sender numbered on every topic partition runs 1, 2, 3 … without a gap.

In each epoch of a sender anew, and no epoch before its announcement; when the next one has begun
on a lane, the one before says nothing new there. A repeat is allowed and counted; it must be the
same, byte for byte. Of every letter one 64-bit fingerprint is kept, so a million letters take 8 MB.
"""

from array import array

from streams.check.report import Claim, Place

#: Stands for a number nobody has sent yet.
_MISSING = 0
#: A jump beyond this is a foreign number, not a gap.
_GAP_MAX = 1_000_000


#: Topic, partition and sender.
Lane = tuple[str, int, str]


class Lanes:
    """All letters and events seen so far, by topic, partition and sender."""

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        #: Lane -> epoch -> fingerprints of its letters, by number.
        self._seen: dict[Lane, dict[int, array[int]]] = {}
        self._announced: dict[Lane, int] = {}
        self.repeats = 0
        self.letters = 0

    def fresh(self, sender: str, epoch: int, number: int, print_: int, place: Place) -> bool:
        """Count one letter of *sender*; say whether it is heard for the first time."""
        lane = (place.topic, place.partition, sender)
        epochs = self._seen.get(lane)
        if epochs is None:
            epochs = self._seen[lane] = {}
        seen = epochs.get(epoch)
        if seen is None:
            seen = epochs[epoch] = self._begin(lane, epoch, place)
        self.letters += 1
        last = len(seen)
        if number == last + 1:
            seen.append(print_ or 1)
            return len(epochs) == 1 or not self._over(epochs, sender, epoch, number, place)
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

    def _begin(self, lane: Lane, epoch: int, place: Place) -> "array[int]":
        announced = self._announced.get(lane, 0)
        if epoch > announced:
            self._claim.wrong(
                f"{place}: {lane[2]}",
                f"epoch {epoch} announced before its first letter",
                f"a letter of epoch {epoch}, announced is {announced}",
            )
        return array("q")

    def _over(
        self, epochs: "dict[int, array[int]]", sender: str, epoch: int, number: int, place: Place
    ) -> bool:
        """Say whether *epoch* had ended on this lane when a new letter of it came."""
        latest = max(epochs)
        if epoch == latest:
            return False
        self._claim.wrong(
            f"{place}: letter {number} of {sender}",
            f"nothing new of epoch {epoch} after epoch {latest} began",
            "a letter that was not there before",
        )
        return True

    def announce(self, sender: str, epoch: int, place: Place) -> None:
        """Take note that *epoch* of *sender* may come on this lane from here on."""
        lane = (place.topic, place.partition, sender)
        self._announced[lane] = max(epoch, self._announced.get(lane, 0))
        self._claim.figures["announcements"] += 1

    def announced(self, topic: str, partition: int) -> dict[str, int]:
        """Return sender -> the greatest epoch announced on one topic partition."""
        return {
            sender: epoch
            for (name, number, sender), epoch in self._announced.items()
            if (name, number) == (topic, partition)
        }

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

    def ends(self) -> dict[Lane, tuple[int, int]]:
        """Return the latest epoch of every lane, and the greatest number in it."""
        return {
            lane: (latest := max(epochs), len(epochs[latest]))
            for lane, epochs in self._seen.items()
        }

    def close(self) -> None:
        """Put the figures into the claim."""
        figures = self._claim.figures
        figures["letters"] += self.letters
        figures["repeats"] += self.repeats
        figures["missing"] += 0
        figures["contradictions"] += 0
        figures["repeats_per_mille"] = round(1000 * self.repeats / max(1, self.letters))
