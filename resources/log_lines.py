"""The form of log lines: text as each library writes it, or one JSON object a line (`DAILIES_LOG_FORMAT=json`).

Dagster makes new console handlers for each run, so the form is changed where all console handlers write: in
`logging.StreamHandler.emit`. Handlers of files keep their own form.
"""

import contextlib
import contextvars
import functools
import json
import logging
import os
import re
import stat
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, TextIO

from resources import variables
from resources.plain import without_queries
from resources.spellings import Spellings
from resources.variables import LOG_FORMAT

LogFormat = Literal["text", "json"]
LONGEST_TEXT = 20_000
"""Most characters of a message or a traceback in a line."""
PIPE_BYTES = 4096
"""A longer line may be torn where several processes write into one pipe (Linux: PIPE_BUF), so there it is cut."""

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|HEADER|ALARM_URL|CREDENTIAL", re.IGNORECASE)
_about: contextvars.ContextVar[dict[str, str]] = contextvars.ContextVar("about", default={})  # noqa: B039 - never changed
_writing = threading.Lock()
_emit = logging.StreamHandler.emit


@contextlib.contextmanager
def about(**facts: str | None) -> Iterator[None]:
    """Name what the lines of this task are about, e.g. `clip`, `attempt`, `run_id`; None is left out."""
    token = _about.set({**_about.get(), **{name: fact for name, fact in facts.items() if fact}})
    try:
        yield
    finally:
        _about.reset(token)


def writes_json() -> bool:
    """Whether `use_setting` has chosen JSON in this process."""
    return logging.StreamHandler.emit is not _emit


def use_setting() -> None:
    """Write the console's log lines of this process in the form of `DAILIES_LOG_FORMAT`, whichever library logs them.

    An invalid value is refused where settings are read; here it leaves text.
    """
    if writes_json() or variables.of_process().get(LOG_FORMAT, "").strip().lower() != "json":
        return
    _spellings.cache_clear()
    logging.StreamHandler.emit = _emit_json  # type: ignore[method-assign, assignment]
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda thread: _log_uncaught(
        thread.exc_type, thread.exc_value or thread.exc_type(), thread.exc_traceback
    )
    os.register_at_fork(after_in_child=_new_lock)


def use_text() -> None:
    """Undo `use_setting`; for tests."""
    logging.StreamHandler.emit = _emit  # type: ignore[method-assign]
    logging.captureWarnings(capture=False)
    sys.excepthook = sys.__excepthook__
    threading.excepthook = threading.__excepthook__


def hide_secret(secret: str) -> None:
    """Hide a secret in all further lines: an API key whose variable has a name of its own."""
    if secret not in _further:
        _further.add(secret)
        _spellings.cache_clear()


_further: set[str] = set()


def write_line(level: str, message: str, *, logger: str = "dailies", stream: TextIO | None = None) -> None:
    """Write one line that comes from no logger: a command's error."""
    _write(
        stream or sys.stderr,
        {"time": _time(datetime.now(UTC).timestamp()), "level": level, "logger": logger, "message": message},
    )


@functools.cache
def _spellings() -> Spellings:
    named = {value for name, value in variables.of_process().items() if _SECRET_NAME.search(name)}
    # a header is hidden without its name, too: an error may quote the value alone
    values = {value.partition(":")[2].strip() for value in named if ":" in value}
    words = {word for value in named | values for word in value.split()}
    return Spellings(*sorted(named | values | words | _further, key=len, reverse=True))


def _emit_json(self: "logging.StreamHandler[Any]", record: logging.LogRecord) -> None:
    if isinstance(self, logging.FileHandler) or self.stream not in {
        sys.stdout,
        sys.stderr,
        sys.__stdout__,
        sys.__stderr__,
    }:
        _emit(self, record)
        return
    try:
        _write(self.stream, _fields(record))
    except RecursionError:
        raise
    except Exception:  # noqa: BLE001 - as every handler of the standard library does
        self.handleError(record)


def _fields(record: logging.LogRecord) -> dict[str, str]:
    """What a record says; Dagster's own have a run and their words without its prefix in `dagster_meta`."""
    meta = getattr(record, "dagster_meta", None)
    meta = meta if isinstance(meta, dict) else {}
    fields = {
        "time": _time(record.created),
        "level": record.levelname,
        "logger": record.name,
        "message": str(meta.get("orig_message") or record.getMessage()),
    }
    if meta.get("run_id"):
        fields["run_id"] = str(meta["run_id"])
    fields |= _about.get()
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = "".join(traceback.format_exception(*record.exc_info))
    elif record.exc_text:
        fields["exception"] = record.exc_text
    return fields


def _time(seconds: float) -> str:
    """RFC 3339, in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write(stream: Any, fields: dict[str, str]) -> None:
    """Write a line in one piece: one call, and one thread at a time."""
    hidden = _spellings()
    clean = {
        name: without_queries(hidden.hide(_shortened(value, LONGEST_TEXT))) for name, value in fields.items()
    }
    try:
        number = stream.fileno()
        stream.flush()
    except (AttributeError, OSError, ValueError):
        with _writing:
            stream.write(f"{json.dumps(clean)}\n")
            stream.flush()
        return
    line = _line(clean)
    if len(line) > PIPE_BYTES and stat.S_ISFIFO(os.fstat(number).st_mode):
        line = _cut(clean)
    with _writing:
        while line:
            line = line[os.write(number, line) :]


def _line(fields: dict[str, str]) -> bytes:
    return f"{json.dumps(fields)}\n".encode()


def _cut(fields: dict[str, str]) -> bytes:
    """The line within `PIPE_BYTES`: its longest field loses its middle until the line fits."""
    while len(line := _line(fields)) > PIPE_BYTES:
        name = max(fields, key=lambda one: len(fields[one]))
        fields = {**fields, name: _shortened(fields[name], max(2 * len(fields[name]) // 3, 1))}
    return line


def _shortened(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    end = longest * 2 // 3
    return f"{text[: longest - end]}…{text[len(text) - end :]}"


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("dailies").critical("an uncaught error", exc_info=(kind, error, trace))


def _new_lock() -> None:
    global _writing  # noqa: PLW0603 - a forked child must not wait for a thread that it does not have
    _writing = threading.Lock()
