"""What the clients of a server measure of themselves: a span of work, and the CPU in it."""

import json
import os
import time

from streams.processes import cpu_s, family


class Meter:
    """From now to `report`: the time, the CPU of this process, the CPU of the server."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._began = self._now()

    def report(self, done: int) -> None:
        """Say on stdout what each of *done* reservations took."""
        spent = zip(self._now(), self._began, strict=True)
        span_s, client_s, server_s = (now - then for now, then in spent)
        found = {
            "rate": done / span_s,
            "client_cpu_us": client_s * 1e6 / done,
            "server_cpu_us": server_s * 1e6 / done,
        }
        print(json.dumps(found), flush=True)

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), sum(os.times()[:2]), _tree_cpu_s(self._server)


def _tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and all below it, also of those that have ended."""
    return sum(cpu_s(each, ended=True) or 0.0 for each in family(pid))
