"""Sends spans to an OpenTelemetry collector with OpenTelemetry's library: OTLP over HTTP, in a separate thread, with a bounded queue.

A collector is not trusted: its answers are not read, a process that ends waits for it only for `FLUSH_SECONDS`, and only
if its last answer was right. Spans that it refuses are lost.
"""

import atexit
import contextlib
import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from multiprocessing import util
from typing import Any

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from resources.traces.facts import Fact, Facts

logger = logging.getLogger("dailies")

FLUSH_SECONDS = 2.0
"""Seconds that a process which ends waits for the collector."""
SAY_AGAIN_SECONDS = 600.0
"""Seconds between two log lines about a collector that accepts nothing."""
_AT_THE_PROVIDER = {"POST", "poll"}


def trace_id(attempt: str) -> int:
    """The trace of an attempt: the first 16 bytes of its id's SHA-256.

    Not the id itself: a UUID has fixed bits where samplers by ratio look, so that a ratio of 0.25 would keep nothing.
    """
    return int.from_bytes(hashlib.sha256(attempt.encode()).digest()[:16])


def _clip_span_id(attempt: str) -> int:
    return int.from_bytes(hashlib.sha256(attempt.encode()).digest()[16:24])


def _run_span_id(attempt: str, run_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{attempt} {run_id}".encode()).digest()[:8])


class OpenSpan:
    """A span that has begun."""

    def __init__(self, collector: "Collector", span: Span) -> None:
        self._collector = collector
        self._span = span

    def note(self, facts: Facts) -> None:
        """Add facts; None is left out."""
        self._span.set_attributes(_attributes(facts))

    def fail(self, why: str) -> None:
        """Mark it as failed, with our word for the reason."""
        self._span.set_status(Status(StatusCode.ERROR, why))

    def child(self, name: str) -> "OpenSpan":
        """Begin a span under this one."""
        return OpenSpan(
            self._collector, self._collector.tracer.start_span(name, set_span_in_context(self._span))
        )

    def end(self) -> None:
        """End it, and put it into the queue."""
        self._span.end()


class Collector:
    """Sends this process's spans. It does not set OpenTelemetry's global provider, which other code in the process may use."""

    def __init__(self) -> None:
        # its messages quote the collector's and are repeated for every batch; _Exporter logs ours
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        ours = Resource(
            {
                "service.name": "dailies",
                "service.version": version("dailies"),
                "host.name": socket.gethostname(),
                "process.pid": os.getpid(),
            }
        )
        self._ids = _Ids()
        self._exporter = _Exporter()
        # the sampler, the limits and the queue are those of the standard variables
        self._provider = TracerProvider(
            resource=ours.merge(OTELResourceDetector().detect()),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self.tracer = self._provider.get_tracer("dailies", version("dailies"))
        self._process = os.getpid()
        self._closing = threading.Lock()
        # a child of multiprocessing may end without running what atexit knows
        util.Finalize(None, self.close, exitpriority=0)
        atexit.register(self.close)

    def start(
        self, name: str, clip: Facts, run_id: str | None, more: Facts, *, began: int | None = None
    ) -> OpenSpan:
        """Begin a step of an attempt, under its run or, without one, under its `clip`.

        Args:
            began: As `time.time_ns`; None is now.
        """
        attempt = str(clip["attempt"])
        above = _clip_span_id(attempt) if run_id is None else _run_span_id(attempt, run_id)
        span = self.tracer.start_span(
            name,
            self._parent_context(attempt, above),
            kind=SpanKind.CLIENT if name in _AT_THE_PROVIDER else SpanKind.INTERNAL,
            attributes=_attributes({**clip, **more, "run_id": run_id}),
            start_time=began,
        )
        return OpenSpan(self, span)

    def add_runs(self, clips: Iterable[Facts], run_id: str, began: int) -> None:
        """Add a span to each attempt that a run has touched, which ends now; `began` as `time.time_ns`."""
        for clip in clips:
            self._add_run(clip, run_id, began)

    def _add_run(self, clip: Facts, run_id: str, began: int) -> None:
        attempt = str(clip["attempt"])
        with self._ids.fixed(trace_id(attempt), _run_span_id(attempt, run_id)):
            span = self.tracer.start_span(
                "run",
                self._parent_context(attempt, _clip_span_id(attempt)),
                attributes=_attributes({**clip, "run_id": run_id}),
                start_time=began,
            )
        span.end()

    def add_clip(self, clip: Facts, began: float, end: float, failed: str | None, more: Facts) -> None:
        """Add the span of a whole attempt; times in seconds since the epoch."""
        attempt = str(clip["attempt"])
        with self._ids.fixed(trace_id(attempt), _clip_span_id(attempt)):
            span = self.tracer.start_span(
                "clip", Context(), attributes=_attributes({**clip, **more}), start_time=int(began * 1e9)
            )
        if failed is not None:
            span.set_status(Status(StatusCode.ERROR, failed))
        span.end(int(end * 1e9))

    def close(self) -> None:
        """Send what is queued, within `FLUSH_SECONDS`; nothing where the collector does not answer. Later spans are lost."""
        if os.getpid() != self._process or not self._closing.acquire(blocking=False):
            return
        if self._exporter.failing:
            return
        ending = threading.Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)

    def _parent_context(self, attempt: str, span_id: int) -> Context:
        """The context of a parent that another process may have begun or may still begin.

        All processes decide from the trace's id whether it is kept, so they agree.
        """
        trace = trace_id(attempt)
        kept = self._provider.sampler.should_sample(Context(), trace, "clip").decision
        sampled = kept is Decision.RECORD_AND_SAMPLE
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        parent = SpanContext(trace, span_id, is_remote=True, trace_flags=flags)
        return set_span_in_context(NonRecordingSpan(parent), Context())


def _attributes(facts: Facts) -> Mapping[str, Fact]:
    return {f"dailies.{name}": fact for name, fact in facts.items() if fact is not None}


class _Ids(RandomIdGenerator):
    """Random ids, and within `fixed` the given ones."""

    def __init__(self) -> None:
        self._wanted = threading.local()

    @contextlib.contextmanager
    def fixed(self, trace: int, span: int) -> Iterator[None]:
        self._wanted.ids = (trace, span)
        try:
            yield
        finally:
            del self._wanted.ids

    def generate_trace_id(self) -> int:
        ids: tuple[int, int] | None = getattr(self._wanted, "ids", None)
        return super().generate_trace_id() if ids is None else ids[0]

    def generate_span_id(self) -> int:
        ids: tuple[int, int] | None = getattr(self._wanted, "ids", None)
        return super().generate_span_id() if ids is None else ids[1]


class _UnreadAnswers(requests.Session):
    """Closes each answer after its headers: its body may be endless, and is not needed."""

    def __init__(self) -> None:
        super().__init__()
        # without it, the HTTP library would send the login for the collector's host from the user's .netrc
        self.auth = _unchanged

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        answer = super().request(*args, **{**kwargs, "stream": True})
        answer.close()
        return answer


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class _Exporter(SpanExporter):
    """Sends spans, and logs our own message when they are lost."""

    def __init__(self) -> None:
        self._otlp = OTLPSpanExporter(session=_UnreadAnswers())
        self._said_at: float | None = None
        self.failing = False
        """Whether the collector did not accept the last spans."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._otlp.export(spans)
        except Exception:  # noqa: BLE001 - any exception that the answer's bytes raise means that the spans are lost
            result = SpanExportResult.FAILURE
        self.failing = result is not SpanExportResult.SUCCESS
        now = time.monotonic()
        if self.failing and (self._said_at is None or now - self._said_at > SAY_AGAIN_SECONDS):
            self._said_at = now
            logger.warning(
                "the collector at OTEL_EXPORTER_OTLP_ENDPOINT accepts no spans, so traces are incomplete; nothing else depends on it"
            )
        return result

    def shutdown(self) -> None:
        self._otlp.shutdown()  # type: ignore[no-untyped-call]
