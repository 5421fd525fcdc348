"""
Chaos: the whole house under load, broken on purpose by a seeded plan, and counted afterwards.

    plans.py     what is broken, in which order and when: a function of a name and a seed
    faults.py    each fault: what it does, what it needs, and how it shows that it struck
    crew.py      workers and gateway: killed, stopped, made more and fewer, started again
    links.py     the lines between workers and servers, which can be slow, silent or cut
    servers.py   Kafka, PostgreSQL and Redis of `deploy/stack.py`: stopped, killed, restarted
    counting.py  what the processes have counted
    act.py       one run, from the empty stage to the verdict
    telling.py   what it says

The verdict is not ours: `streams/check` reads the feed's log, the topics and PostgreSQL, and knows
nothing of what was broken.
"""

from streams.chaos.act import play_unless_ended

__all__ = ["play_unless_ended"]
