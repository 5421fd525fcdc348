"""The exceptions queue: what could not be handled, worked off by people."""
