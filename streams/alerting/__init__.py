"""
Alerts: figures in, messages to people out. A process of its own, `orderflow alerts run`.

    sources    reads the figures: PostgreSQL, Kafka, Redis, disks
    judging    lets agents/alerting.py decide, and writes down what it decided
    sending    tells it on every channel, as agents/paging.py says
    serving    the process: of several replicas one works

Whoever is told something was written down as to be told before; see docs/decisions/0014.
"""
