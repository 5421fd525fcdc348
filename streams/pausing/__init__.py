"""Pausing intake of a shop: its messages are set aside, and read in order once it is resumed."""
