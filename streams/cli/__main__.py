"""Lets `python -m streams.cli` be `orderflow`, wherever its script is not on the path."""

from streams.cli import main

main()
