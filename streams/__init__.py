"""
The outside: Kafka, PostgreSQL, Redis, the clock, the terminal. Only here the world is touched.

Start with `streams/topology.py`: it says who listens to what and where each message goes.
"""
