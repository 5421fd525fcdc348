"""A worker of the counting shop, as a process of its own: `python -m tests.integration.worker`."""

import logging
import sys

from schemas.errors import Misconfigured
from streams.engine.serving import EXIT_MISCONFIGURED, serve
from streams.settings import load
from tests.integration import shop
from tests.integration.counting import TOPICS

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        settings = load()
    except Misconfigured as wrong:
        print(wrong, file=sys.stderr)
        sys.exit(EXIT_MISCONFIGURED)
    serve(settings, [shop.a_keeper()], TOPICS)
