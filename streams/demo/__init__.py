"""
The demo: the whole house at work on the real stack, and the truth told at the end.

    stage.py     a fresh installation: topics under a prefix of their own, a database of its own
    samples.py   the platforms' sample payloads, and the reference data and stock they need
    troupe.py    the workers, supervised, and the one that is killed
    watching.py  the figures, from PostgreSQL and the broker, live
    opening.py   the workers again and the console, until somebody has seen enough
    acts.py      what happens, in order; read this one

Promises that an earlier demo is never disturbed while it runs, that only processes of its own are
killed, and that it says yes only if everything holds.
"""

from streams.demo.acts import has_terminal, show

__all__ = ["has_terminal", "show"]
