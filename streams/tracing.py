"""
Traces, where ORDERFLOW_TRACES names an OTLP collector; without it nothing of this is imported.

A message's trace is known from its correlation id alone: the trace's id is a hash of it. So the
gateway, intake, the keepers and the ledger tell spans of one trace without handing anything on, no
record grows by a header, and all of them take the same sample: the messages whose hash lies below
ORDERFLOW_TRACES_SHARE. A replay tells the span of its stage once more.

    send raw-orders-* (gateway, poller)
    └─ process raw-orders-* (intake)
       ├─ process order-commands (order keeper)   ├─ process stock-commands (stock keeper)
       └─ settle ledger

A `traceparent` (W3C) that a sender gave is kept in the raw record's header, and linked.

Promise: spans have ids, topics and outcomes as attributes, masked like all else; a collector that
is away or slow costs spans, never a message.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from streams.masking import masked
from streams.settings import Settings

HEADER = "traceparent"
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
#: Spans that wait for the collector, and how they are sent.
_WAITING_MAX, _BATCH_MAX = 2_048, 512
_EVERY_MS, _WITHIN_S = 1_000, 5.0
#: The end of a process waits for the last spans at most so long.
_FLUSH_MS = 1_000
_FLAG_SAMPLED = 1


class Stage(NamedTuple):
    """One kind of span: what is done, to what; `of` is the stage that caused it."""

    name: str
    operation: str
    kind: str
    #: Whether a message has one such span, whose id then is known to the stages after it.
    is_one: bool
    of: str | None


SEND = Stage("gateway", "send", "PRODUCER", is_one=True, of=None)
READ = Stage("intake", "process", "CONSUMER", is_one=True, of="gateway")
DECIDE = Stage("keeper", "process", "CONSUMER", is_one=False, of="intake")
WRITE = Stage("ledger", "settle", "CLIENT", is_one=False, of="intake")


class Ids(NamedTuple):
    """The ids of one message's trace."""

    trace: int

    def span(self, stage: str) -> int:
        """Return the id of the one span of *stage*."""
        said = self.trace.to_bytes(16, "big") + stage.encode()
        return int.from_bytes(sha256(said).digest()[:8], "big") or 1


def ids_of(correlation: str) -> Ids:
    """Return the ids of the trace of a message."""
    return Ids(int.from_bytes(sha256(correlation.encode()).digest()[:16], "big") or 1)


def is_traceparent(said: str) -> bool:
    """Say whether *said* is a W3C traceparent of the known version."""
    return _TRACEPARENT.fullmatch(said) is not None


def of(settings: Settings) -> "Tracer | None":
    """Return the process's tracer; None where traces are off."""
    return _tracer(settings.traces, settings.traces_share) if settings.traces else None


@lru_cache(maxsize=4)
def _tracer(endpoint: str, share: float) -> "Tracer":
    return Tracer(endpoint, share)


class Tracer:
    """Tells spans of sampled messages to a collector, from a thread of its own."""

    def __init__(self, endpoint: str, share: float) -> None:
        # ruff: noqa: PLC0415  imported only where traces are on
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider, sampling
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._trace = trace
        self._below = int(share * (1 << 64))
        self._next = _Given()
        self._provider = TracerProvider(
            sampler=sampling.ALWAYS_ON,  # what is told was sampled by us
            resource=Resource({"service.name": "orderflow"}),
            id_generator=self._next,  # type: ignore[arg-type]  # its base is imported where traces are on
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(endpoint=endpoint, timeout=_WITHIN_S),
                max_queue_size=_WAITING_MAX,
                schedule_delay_millis=_EVERY_MS,
                max_export_batch_size=_BATCH_MAX,
            )
        )
        self._tracer = self._provider.get_tracer("orderflow")

    def is_sampled(self, ids: Ids) -> bool:
        """Say whether the spans of this trace are told; every process says the same."""
        return ids.trace & 0xFFFF_FFFF_FFFF_FFFF < self._below

    def tell(
        self,
        stage: Stage,
        destination: str,
        correlation: str,
        began_ns: int,
        ended_ns: int,
        more: Mapping[str, Any] | None = None,
        links: Sequence[str] = (),
    ) -> None:
        """Tell one span, if its message is sampled. Times are ns since the epoch."""
        ids = ids_of(correlation)
        if not self.is_sampled(ids):
            return
        self._next.give(ids.trace, ids.span(stage.name) if stage.is_one else None)
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": stage.operation,
            "messaging.operation.type": stage.operation,
            "messaging.destination.name": destination,
            "orderflow.stage": stage.name,
            "orderflow.correlation": correlation,
        } | dict(more or {})
        span = self._tracer.start_span(
            f"{stage.operation} {destination}",
            context=self._parent(ids, stage),
            kind=self._trace.SpanKind[stage.kind],
            attributes={name: _hidden(value) for name, value in attributes.items()},
            links=[self._linked(said) for said in links],
            start_time=began_ns,
        )
        span.end(ended_ns)

    def flush(self) -> None:
        """Let what waits be sent, within a moment."""
        self._provider.force_flush(_FLUSH_MS)

    def _parent(self, ids: Ids, stage: Stage) -> Any:
        from opentelemetry.context import Context

        if stage.of is None:
            return Context()
        return self._trace.set_span_in_context(
            self._trace.NonRecordingSpan(self._context(ids.trace, ids.span(stage.of))), Context()
        )

    def _linked(self, traceparent: str) -> Any:
        met = _TRACEPARENT.fullmatch(traceparent)
        if met is None:
            raise AssertionError("only what `is_traceparent` took is linked")
        return self._trace.Link(self._context(int(met[1], 16), int(met[2], 16)))

    def _context(self, trace: int, span: int) -> Any:
        flags = self._trace.TraceFlags(_FLAG_SAMPLED)
        return self._trace.SpanContext(trace, span, is_remote=True, trace_flags=flags)


class _Given:
    """Gives the SDK the ids that are known already (its IdGenerator)."""

    def __init__(self) -> None:
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        self._random = RandomIdGenerator()
        self._trace = 0
        self._span: int | None = None

    def give(self, trace: int, span: int | None) -> None:
        """Let the next span have these; None: any span id."""
        self._trace, self._span = trace, span

    def generate_trace_id(self) -> int:
        return self._trace

    def generate_span_id(self) -> int:
        span, self._span = self._span, None
        return self._random.generate_span_id() if span is None else span

    def is_trace_id_random(self) -> bool:
        return False


def _hidden(value: Any) -> Any:
    return masked(value) if isinstance(value, str) else value
