"""Log lines in JSON, written by a real process to a pipe: DAILIES_LOG_FORMAT=json."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.logs import _readable

KEY = "wsk-planted-0123456789abcdef"
OWN_NAME = "team-two-fedcba9876543210"
THREADS, LINES = 8, 60


def said(code: str, *, form: str = "json", **environment: str) -> list[str]:
    """The lines that a process writes, with both streams in one pipe."""
    done = subprocess.run(
        [sys.executable, "-c", f"from resources.log_lines import *\nimport logging\nuse_setting()\n{code}"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "DAILIES_ENV_FILE": "", "DAILIES_LOG_FORMAT": form, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()


def objects(code: str, **environment: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in said(code, **environment)]


@pytest.mark.slow
def test_a_line_has_its_time_its_place_and_its_subject() -> None:
    [line] = objects(
        "with about(clip='harbor-1', attempt='a1', run_id=None): logging.getLogger('dailies').warning('%s fell', 'it')"
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "WARNING",
        "logger": "dailies",
        "message": "it fell",
        "clip": "harbor-1",
        "attempt": "a1",
    }


@pytest.mark.slow
def test_text_is_the_default_form() -> None:
    assert said("logging.getLogger('dailies').warning('it fell')", form="text") == ["it fell"]


@pytest.mark.slow
def test_an_exception_is_one_field_even_if_uncaught() -> None:
    caught, uncaught = objects(
        "try: 1 / 0\nexcept ZeroDivisionError: logging.getLogger('dailies').exception('caught')\nraise ValueError('two\\nlines')"
    )
    assert "ZeroDivisionError" in caught["exception"]
    assert uncaught["level"] == "CRITICAL"
    assert "ValueError: two\nlines" in uncaught["exception"]


@pytest.mark.slow
def test_dagsters_own_loggers_write_json() -> None:
    lines = objects(
        "from dagster._utils.log import configure_loggers, create_console_logger\n"
        "configure_loggers()\n"
        "logging.getLogger('dagster.daemon').info('of the daemon')\n"
        "create_console_logger('dagster', 'INFO').info('of a run')\n"
        "import warnings; warnings.warn('of the interpreter')"
    )
    assert [line["message"].split("\n")[0].rpartition("Warning: ")[2] for line in lines] == [
        "of the daemon",
        "of a run",
        "of the interpreter",
    ]


@pytest.mark.slow
def test_no_line_shows_a_secret() -> None:
    code = (
        "import os, base64\n"
        "key, own = os.environ['WAVESPEED_API_KEY'], os.environ['MY_OWN']\n"
        "hide_secret(own)\n"
        "log = logging.getLogger('dailies')\n"
        "log.warning('the key %s and %s', key, own)\n"
        "log.warning('in base64: %s', base64.b64encode(key.encode()).decode())\n"
        "log.warning('GET https://user:pass-word@cdn.example.com/a.mp4?X-Amz-Signature=abcdef refused')\n"
        "with about(clip=own): log.warning('in a field')\n"
        "log.warning('alarm to %s failed', os.environ['DAILIES_ALARM_URL'])\n"
        "log.warning('the header was %s', os.environ['DAILIES_DAGSTER_HEADER'].partition(': ')[2])\n"
        "try: raise ValueError(f'refused {key}')\n"
        "except ValueError: log.exception('failed')"
    )
    environment = {
        "WAVESPEED_API_KEY": KEY,
        "MY_OWN": OWN_NAME,
        "DAILIES_ALARM_URL": "https://hooks.example.com/services/T000/planted-path",
        "DAILIES_DAGSTER_HEADER": "X-Login: planted-login-1234567",
    }
    lines = objects(code, **environment)
    text = json.dumps(lines)
    assert len(lines) == 7
    for secret in (
        KEY,
        OWN_NAME,
        "d3NrLXBsYW50ZWQ",
        "pass-word",
        "abcdef refused",
        "X-Amz",
        "planted-path",
        "planted-login",
    ):
        assert secret not in text
    assert "https" in lines[2]["message"]
    assert "cdn.example.com/a.mp4" in lines[2]["message"]
    shown = said("import os; logging.getLogger('dailies').warning(os.environ['MY_OWN'])", **environment)
    assert OWN_NAME in shown[0], "the control: a variable that is not declared as secret is shown"


@pytest.mark.slow
@pytest.mark.parametrize("length", [40, 3000, 30_000])
def test_lines_of_threads_and_processes_are_not_mixed_in_a_pipe(length: int) -> None:
    lines = objects(
        f"import os, threading\n"
        f"os.fork()\n"
        f"def write(number):\n"
        f"    for _ in range({LINES}): logging.getLogger('dailies').warning(str(number) * {length})\n"
        f"threads = [threading.Thread(target=write, args=(number,)) for number in range({THREADS})]\n"
        f"[thread.start() for thread in threads]; [thread.join() for thread in threads]"
    )
    assert len(lines) == 2 * THREADS * LINES
    assert all(len(set(line["message"].replace("…", ""))) == 1 for line in lines)


def test_dailies_logs_shows_json_lines_as_sentences() -> None:
    line = json.dumps(
        {
            "time": "2026-11-30T06:00:00.000Z",
            "level": "WARNING",
            "logger": "dailies",
            "message": "it fell",
            "clip": "harbor-1",
            "exception": "Traceback\nValueError: no\n",
        }
    )
    expected = (
        "2026-11-30T06:00:00.000Z WARNING  dailies: it fell  [clip=harbor-1]\nTraceback\nValueError: no"
    )
    assert _readable(line) == expected
    for other in ("2026-11-30 06:00:00 dailies WARNING it fell", '{"time": broken', '{"time": "now"}'):
        assert _readable(other) == other
