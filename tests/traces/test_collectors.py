"""Collectors that are down, slow or hostile: they cost spans, and never time, memory or a purchase."""

import contextlib
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from otlp_receiver import receiving
from raw_server import answering

from resources.traces import collector as collector_module
from resources.traces import spans
from resources.traces.collector import Collector, _Exporter, trace_id

OTEL = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG")


@pytest.fixture(autouse=True)
def _no_collector_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setattr(spans, "_collectors", {})
    monkeypatch.setattr(spans, "_failed", set())
    yield
    for made in spans._collectors.values():
        if made is not None:
            made._exporter.shutdown()
            made._provider.shutdown()


def facts() -> dict[str, str | int | None]:
    return {"clip": "bay-east", "attempt": uuid.uuid4().hex, "job_id": None, "take": 1}


def collector_at(url: str, monkeypatch: pytest.MonkeyPatch) -> Collector:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    made = spans._collector()
    assert made is not None
    return made


def work() -> None:
    """The spans of a purchase."""
    one = facts()
    with spans.run("run-1"):
        spans.decided(one, 1)
        with spans.span("POST", one):
            spans.note(outcome="accepted")
        with spans.span("deliver", one), spans.Stages("download") as stages:
            stages.next("check")
            stages.next("store", failed_checks=None)
    spans.ended(one, 1.0, 2.0, failed=None)


# A collector that does not answer


@pytest.mark.slow
def test_neither_work_nor_its_end_waits_for_a_collector_that_never_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def never(_self: _Exporter, _spans: object) -> SpanExportResult:
        asked.set()
        answer.wait()
        return SpanExportResult.SUCCESS

    monkeypatch.setattr(_Exporter, "export", never)
    monkeypatch.setattr(collector_module, "FLUSH_SECONDS", 0.05)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    made = collector_at("http://127.0.0.1:9", monkeypatch)
    try:
        work()
        assert asked.wait(60)
        # more spans than the queue holds
        for _ in range(1000):
            work()
        made.close()
        assert not answer.is_set(), "neither has waited for the answer"
    finally:
        answer.set()


def test_a_process_that_ends_does_not_wait_for_a_collector_that_accepts_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = collector_at("http://127.0.0.1:9", monkeypatch)
    made._exporter.failing = True
    shut: list[str] = []
    monkeypatch.setattr(made._provider, "shutdown", lambda: shut.append("shut"))
    made.close()
    assert shut == []


# unexpected answers


def endless(connection: socket.socket, sent: list[int]) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        sent[0] += connection.send(b"x" * 65536)


def test_the_body_of_an_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of 1 GB would fill the memory of the buying process."""
    sent, hung_up = [0], threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(60)
                connection.recv(65536)
                with contextlib.suppress(OSError):
                    endless(connection, sent)
            hung_up.set()

        threading.Thread(target=serve, daemon=True).start()
        made = collector_at(f"http://127.0.0.1:{server.getsockname()[1]}", monkeypatch)
        work()
        made._provider.force_flush()
        assert hung_up.wait(60)
    assert sent[0] < 20_000_000, "no more than the sockets hold"
    assert not made._exporter.failing


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff" * 100,
        b"HTTP/1.1 500 canary-of-the-collector\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 later\r\nRetry-After: 1000000000\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 401 canary-of-the-collector\r\nContent-Length: 999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    ],
    ids=["nothing", "no HTTP", "500", "much later", "401", "too many headers"],
)
def test_any_answer_costs_only_spans_and_is_logged_once(
    answer: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # the time during which the exporter tries again
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    with answering(answer) as server, caplog.at_level(logging.DEBUG):
        made = collector_at(server.origin, monkeypatch)
        for _ in range(3):
            work()
            made._provider.force_flush()
        assert made._exporter.failing
        assert server.requests
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert "accepts no spans" in said[0]
    assert "canary" not in said[0]


def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as elsewhere:
        answer = (
            f"HTTP/1.1 307 x\r\nLocation: {elsewhere.url}/v1/traces\r\nContent-Length: 0\r\n\r\n".encode()
        )
        with answering(answer) as server:
            made = collector_at(server.origin, monkeypatch)
            work()
            made._provider.force_flush()
        assert elsewhere.bodies == []


# errors of our own and of the library


def test_an_error_in_a_trace_is_not_raised(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = collector_at("http://127.0.0.1:9", monkeypatch)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("canary-of-a-prompt")

    for name in ("start", "add_runs", "add_clip"):
        monkeypatch.setattr(made, name, broken)
    work()
    assert [record.getMessage() for record in caplog.records] == [
        "a trace is incomplete: RuntimeError (logged only once)"
    ]


def test_an_error_of_a_step_is_raised_and_its_text_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as collector:
        made = collector_at(collector.url, monkeypatch)
        with pytest.raises(ValueError, match="canary"), spans.span("POST", facts()):
            raise ValueError("canary-of-a-prompt")
        made._provider.force_flush()
        (post,) = collector.spans()
        assert post.failed == "ValueError"
        assert b"canary" not in b"".join(collector.bodies)


# the standard variables


def test_an_unsupported_protocol_is_reported_and_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    work()
    assert "dailies speaks OTLP by http/protobuf" in caplog.text


def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.delitem(sys.modules, "resources.traces.collector")
    monkeypatch.setitem(sys.modules, "opentelemetry.context", None)
    work()
    assert "the package opentelemetry.context is not installed" in caplog.text


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": " "},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_sent_without_a_collector(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    work()
    assert spans._collector() is None


def test_the_variables_may_be_in_the_settings_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with receiving() as collector:
        file = tmp_path / ".env"
        file.write_text(f"OTEL_EXPORTER_OTLP_ENDPOINT={collector.url}\nOTEL_SERVICE_NAME=bay\n")
        monkeypatch.setenv("DAILIES_ENV_FILE", str(file))
        # restored afterwards, since the collector's settings are put into the environment
        for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME"):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        made = spans._collector()
        assert made is not None
        work()
        made._provider.force_flush()
        assert {one.process["service.name"] for one in collector.spans()} == {"bay"}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["traceidratio", "parentbased_traceidratio"])
def test_a_trace_is_kept_completely_or_not_at_all_and_in_the_configured_share(
    sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.25")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10000")
    with receiving() as collector:
        made = collector_at(collector.url, monkeypatch)
        for _ in range(400):
            work()
        made._provider.force_flush()
        kept: dict[str, int] = {}
        for one in collector.spans():
            kept[one.trace] = kept.get(one.trace, 0) + 1
    assert set(kept.values()) == {8}
    assert 50 <= len(kept) <= 160


def test_an_attempts_own_id_would_not_work_as_a_trace_id() -> None:
    """The negative control: in a UUID, the bits that a sampler compares are never below a half."""
    low = (1 << 64) - 1
    assert min(uuid.uuid4().int & low for _ in range(400)) >= 1 << 63
    assert min(trace_id(uuid.uuid4().hex) & low for _ in range(400)) < 1 << 63


# Processes that are forked or spawned


def in_a_child(url: str) -> None:
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
    work()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_sends_its_own_spans_before_it_ends(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as collector:
        made = collector_at(collector.url, monkeypatch)
        work()
        child = multiprocessing.get_context(way).Process(target=in_a_child, args=(collector.url,))  # type: ignore[attr-defined]
        child.start()
        child.join(120)
        assert child.exitcode == 0
        made._provider.force_flush()
        by_process: dict[object, int] = {}
        for one in collector.spans():
            by_process[one.process["process.pid"]] = by_process.get(one.process["process.pid"], 0) + 1
    assert by_process == {os.getpid(): 8, child.pid: 8}


@pytest.mark.slow
def test_without_a_collector_nothing_of_opentelemetry_is_loaded() -> None:
    code = """
import sys
import pipelines.definitions
from resources.production import engine
from resources.traces import spans

with spans.run("run-1"), spans.span("POST", {"attempt": "a"}), spans.Stages("download") as stages:
    stages.next("check")
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
