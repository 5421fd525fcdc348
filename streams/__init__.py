"""
The outside: Kafka, PostgreSQL, Redis, the clock and the terminal. The only room that touches the world.

Start with `streams/topology.py`: it says who listens to what and where each message goes.
"""
