"""
What a webhook costs before any work of ours: a Starlette handler on uvicorn that only answers.

    python -m streams.bench.bare_starlette PORT
"""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def _answer(_request: Request) -> Response:
    return Response()


app = Starlette(routes=[Route("/v1/webhooks/{platform}/{shop}", _answer, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), ws="none", access_log=False, log_level="warning")
