"""An OpenTelemetry collector for tests: it receives OTLP over HTTP, decodes spans, and draws each trace as a tree."""

import contextlib
import gzip
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Received:
    """One span."""

    name: str
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    failed: str | None
    facts: dict[str, object]
    process: dict[str, object]


class OtlpReceiver(ThreadingHTTPServer):
    """The server; `bodies` has all received requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    def spans(self, **facts: object) -> list[Received]:
        """The spans with these attributes, oldest first."""
        found = []
        for body in list(self.bodies):
            for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
                process = _facts(of_process.resource.attributes)
                for scope in of_process.scope_spans:
                    found += [_received(span, process) for span in scope.spans]
        wanted = {f"dailies.{name}": fact for name, fact in facts.items()}
        return sorted(
            (one for one in found if wanted.items() <= one.facts.items()), key=lambda one: one.began
        )

    def tree(self, spans: list[Received]) -> list[str]:
        """Names of the spans of one trace, indented by depth; equal neighbours are one line."""
        assert len({one.trace for one in spans}) == 1, "one trace"
        below = defaultdict(list)
        for one in spans:
            below[one.parent].append(one)
        lines: list[str] = []

        def draw(parent: str, depth: int) -> None:
            for one in below[parent]:
                line = "  " * depth + one.name
                if not lines or lines[-1] != line:
                    lines.append(line)
                draw(one.id, depth + 1)

        known = {one.id for one in spans}
        for parent in [parent for parent in below if parent not in known]:
            draw(parent, 0)
        return lines


def _received(span: Span, process: dict[str, object]) -> Received:
    return Received(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.message if span.status.code == 2 else None,
        _facts(span.attributes),
        process,
    )


def _facts(attributes: Iterable[KeyValue]) -> dict[str, object]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class _Taker(BaseHTTPRequestHandler):
    server: OtlpReceiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        self.server.bodies.append(body)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None: ...


@contextlib.contextmanager
def receiving() -> Iterator[OtlpReceiver]:
    """A running collector."""
    server = OtlpReceiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
