"""An OTLP collector on loopback: takes spans by HTTP as any collector does, and keeps them."""

import contextlib
import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Span(NamedTuple):
    """What is looked at of a span."""

    trace: int
    parent: int
    name: str
    stage: str
    correlation: str
    links: tuple[str, ...]


class Collector:
    """What came."""

    def __init__(self) -> None:
        self.url = ""
        self._came: list[Any] = []

    def take(self, body: bytes) -> None:
        self._came.append(ExportTraceServiceRequest.FromString(body))

    def text(self) -> str:
        """Everything that came, to be searched."""
        said = "".join(str(each) for each in self._came)
        # Protobuf's text writes what is not ASCII in octal.
        return (
            said.encode("latin-1", "replace")
            .decode("unicode_escape")
            .encode("latin-1", "replace")
            .decode("utf-8", "replace")
        )

    def of(self, trace: int) -> list[Span]:
        """The spans of one trace."""
        return [span for span in self._spans() if span.trace == trace]

    def _spans(self) -> Iterator[Span]:
        for came in self._came:
            for resource in came.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        said = {each.key: each.value.string_value for each in span.attributes}
                        yield Span(
                            int.from_bytes(span.trace_id, "big"),
                            int.from_bytes(span.parent_span_id, "big"),
                            span.name,
                            said["orderflow.stage"],
                            said["orderflow.correlation"],
                            tuple(link.trace_id.hex() for link in span.links),
                        )


@contextlib.contextmanager
def a_collector() -> Iterator[Collector]:
    """Listen on loopback until the block ends."""
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            made.take(body)
            said = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        serving.join(10)
