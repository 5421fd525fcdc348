"""
Named places at which a test makes the process die, as `kill -9` would, at its n-th visit.

`ORDERFLOW_FAILPOINT=keeper-after-letters:3` kills at the third visit. Unset, every failpoint is
None and costs one comparison a round; nothing here may change what the engine does.
"""

import os
import signal
from collections.abc import Callable

from schemas.errors import Misconfigured

NAMES = (
    "keeper-before-letters",
    "keeper-mid-batch",
    "keeper-after-letters",
    "keeper-after-changelog",
    "ledger-before-commit",
    "ledger-after-commit",
    "intake-before-ack",
    "intake-after-ack",
    "gateway-before-ack",
    "gateway-after-ack",
    "callbacks-before-send",
    "callbacks-after-2xx",
    "held-before-mark",
    "mapping-published",
    "mapping-woken",
    "import-read",
    "import-planned",
    "import-sent",
    "import-marked",
    "import-settled",
)

Failpoint = Callable[[], None] | None


def failpoint(setting: str, name: str) -> Failpoint:
    """Return what to call at place *name*: None unless *setting* (`name:n`) means it."""
    wanted, _, nth = setting.partition(":")
    if not setting or wanted != name:
        if setting and wanted not in NAMES:
            raise Misconfigured(
                f"There is no failpoint {wanted!r}; choose one of {', '.join(NAMES)}."
            )
        return None
    left = int(nth or 1)

    def visit() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return visit
