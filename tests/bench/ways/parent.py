"""What a peer's process starts ends with it, and the peer's process with the measurement."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def end_with_parent(number: signal.Signals) -> None:
    """Have the kernel send *number* to this process when its parent has ended; Linux only."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(number)):
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() == 1:  # it had ended before the kernel was told
        os.kill(os.getpid(), number)
