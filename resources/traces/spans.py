"""The spans of a clip's life: one trace for each attempt, whichever processes and hosts work on it.

    clip                      from the decision to the end of the purchase; sent by the process that sees the end
    ├─ run                    the part of one run; without a run (the completion sensor) its children are directly under `clip`
    │  ├─ decide
    │  ├─ POST
    │  ├─ poll …
    │  └─ deliver
    │     ├─ download         until the file is whole
    │     ├─ check
    │     └─ store            until the manifest is written
    └─ poll …

The ids of a trace, of its `clip` and of its runs follow from the ids of attempt and run, so processes do not have to pass them on.
"""

import contextlib
import contextvars
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar

from resources import variables
from resources.traces.facts import Fact, Facts

if TYPE_CHECKING:
    from resources.traces.collector import Collector, OpenSpan

T = TypeVar("T")

logger = logging.getLogger("dailies")

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"


@dataclass
class _Run:
    """The attempts that one run works on in this process."""

    id: str
    began: int
    clips: dict[str, Facts] = field(default_factory=dict)
    """The facts of each attempt, by its id."""


_run: contextvars.ContextVar[_Run | None] = contextvars.ContextVar("run", default=None)
_innermost: contextvars.ContextVar["OpenSpan | None"] = contextvars.ContextVar("innermost", default=None)
_collectors: dict[int, "Collector | None"] = {}
"""By process id, since a forked child must not use its parent's connection and thread."""


@contextlib.contextmanager
def run(run_id: str) -> Iterator[None]:
    """Mark the work of one Dagster run; at its end each clip that it has touched gets a span `run`."""
    collector = _collector()
    if collector is None:
        yield
        return
    one = _Run(run_id, time.time_ns())
    token = _run.set(one)
    try:
        yield
    finally:
        _run.reset(token)
        _safely(lambda: collector.add_runs(one.clips.values(), one.id, one.began))


@contextlib.contextmanager
def span(name: str, clip: Facts, **more: Fact | None) -> Iterator[None]:
    """One step of an attempt. Of an error that ends it only the class name is shown, since its text may quote a prompt.

    Args:
        name: `POST`, `poll`, `deliver`.
        clip: The attempt's facts; `attempt` is one of them.
        more: Further facts; None is left out.
    """
    collector = _collector()
    if collector is None:
        yield
        return
    run_id = _touch(clip)
    with _opened(_safely(lambda: collector.start(name, clip, run_id, more))):
        yield


@contextlib.contextmanager
def _opened(one: "OpenSpan | None") -> Iterator[None]:
    token = _innermost.set(one)
    try:
        yield
    except BaseException as error:
        if one is not None:
            why = type(error).__name__
            _safely(lambda: one.fail(why))
        raise
    finally:
        _innermost.reset(token)
        if one is not None:
            _safely(one.end)


def note(*, failed: str | None = None, **facts: Fact | None) -> None:
    """Add facts to the step that this task is in.

    Args:
        failed: Our word for the reason of the failure; never a provider's text.
        facts: None is left out.
    """
    one = _innermost.get()
    if one is not None:
        _safely(lambda: one.note(facts))
        if failed is not None:
            _safely(lambda: one.fail(failed))


class Stages:
    """The stages of the step that this task is in, one after the other. A context manager: an error fails the last one."""

    def __init__(self, first: str) -> None:
        self._step = _innermost.get()
        self._stage: OpenSpan | None = None
        self.next(first)

    def next(self, name: str, **facts: Fact | None) -> None:
        """End the stage, with facts about it, and begin another. Any thread may call it."""
        self._end(facts)
        step = self._step
        self._stage = None if step is None else _safely(lambda: step.child(name))

    def _end(self, facts: Facts) -> None:
        stage, self._stage = self._stage, None
        if stage is not None:
            _safely(lambda: stage.note(facts))
            _safely(stage.end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        stage = self._stage
        if kind is not None and stage is not None:
            why = kind.__name__
            _safely(lambda: stage.fail(why))
        self._end({})


def decided(clip: Facts, began: int, **more: Fact | None) -> None:
    """Record that a purchase was decided.

    Args:
        clip: The attempt's facts.
        began: When the decision began, as `time.time_ns`.
    """
    collector = _collector()
    if collector is not None:
        run_id = _touch(clip)
        _safely(lambda: collector.start("decide", clip, run_id, more, began=began).end())


def ended(clip: Facts, began: float, end: float, *, failed: str | None, **more: Fact | None) -> None:
    """Record the whole life of a purchase that has just ended.

    Args:
        clip: The attempt's facts.
        began: When it was decided, in seconds since the epoch.
        end: When it ended, in seconds since the epoch.
        failed: Our word for the reason why it made no clip, never a provider's text; None if it was delivered.
    """
    collector = _collector()
    if collector is not None:
        _safely(lambda: collector.add_clip(clip, began, max(began, end), failed, more))


def _touch(clip: Facts) -> str | None:
    """The run that this task belongs to, which has touched the clip now."""
    one = _run.get()
    if one is None:
        return None
    one.clips[str(clip["attempt"])] = clip
    return one.id


def _collector() -> "Collector | None":
    process = os.getpid()
    if process not in _collectors:
        _collectors[process] = _safely(_begin)
    return _collectors[process]


def _begin() -> "Collector | None":
    """The collector that the standard variables name; None if they name none or switch it off."""
    otel_variables = {
        name: value for name, value in variables.of_process().items() if name.startswith("OTEL_")
    }
    if not any(otel_variables.get(name, "").strip() for name in ENDPOINTS):
        return None
    if otel_variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    if otel_variables.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() != "otlp":
        return None
    spoken = next(
        (otel_variables[name].strip() for name in PROTOCOLS if otel_variables.get(name, "").strip()), PROTOCOL
    )
    if spoken != PROTOCOL:
        logger.warning(
            "no traces are sent: dailies speaks OTLP by %s, and the variables ask for another protocol. Set "
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=%s and the collector's port for it (4318 as a rule).",
            PROTOCOL,
            PROTOCOL,
        )
        return None
    try:
        from resources.traces.collector import Collector
    except ImportError as error:
        logger.warning(
            "no traces are sent: OTEL_EXPORTER_OTLP_ENDPOINT is set, and the package %s is not installed. Install dailies with "
            "its requirements.lock, or unset the variable.",
            error.name,
        )
        return None
    # the libraries read only the environment, and settings may be in .env
    for name, value in otel_variables.items():
        os.environ.setdefault(name, value)
    return Collector()


_failed: set[str] = set()


def _safely(work: Callable[[], T]) -> T | None:
    """Do work for a trace; its errors never reach the code that buys, and are logged once."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - a trace must never end a purchase
        kind = type(error).__name__
        if kind not in _failed:
            _failed.add(kind)
            logger.warning("a trace is incomplete: %s (logged only once)", kind)
        return None
