"""Which tests run when: a part in `make test-fast`, each promise once in `make test`, repetition in `make prove`.

CONTRIBUTING.md has the rule. A test for the night is marked `@pytest.mark.night`. On PostgreSQL, `make test` runs a test of the
ledger with the first of its parameters; the other tests on PostgreSQL run at night, unless they are marked `postgresql`.
"""

import gc
import sys
from collections.abc import Callable, Generator, Hashable, Iterable
from typing import Any, TypeVar

import pytest
from examples import OF_A_PROFILE
from hypothesis import HealthCheck, settings

# the duration of an example depends on the machine, not on the code
settings.register_profile(
    "dailies",
    deadline=None,
    max_examples=OF_A_PROFILE,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("fast", settings.get_profile("dailies"), max_examples=OF_A_PROFILE // 5)
settings.register_profile("long", settings.get_profile("dailies"), max_examples=OF_A_PROFILE * 20)
settings.load_profile("dailies")

STARTS_PROCESSES = {"postgres", "rclone_s3", "s3", "lookers", "inspector", "started"}
"""Fixtures that start a process; a test that uses one is slow without a mark."""

FIRST = {"tests/e2e/test_stack.py", "tests/e2e/test_join.py"}
"""Files that take minutes and mostly wait: they begin first, so that no worker still has one when the others have ended."""

NIGHT = "tests for the night"
"""The key under which a worker reports how many tests it left out."""

T = TypeVar("T")

_test_runs = False
_left_out = 0


def one_of_each(values: Iterable[T], kind: Callable[[T], Hashable]) -> list[Any]:
    """For `parametrize`: the first value of each kind, and the others at night."""
    seen: set[Hashable] = set()
    chosen: list[Any] = []
    for value in values:
        chosen.append(pytest.param(value, marks=pytest.mark.night) if kind(value) in seen else value)
        seen.add(kind(value))
    return chosen


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests as slow by their fixtures, put long files first, and leave the night's tests out unless `-m` names them."""
    global _left_out  # noqa: PLW0603 - a process collects once
    items.sort(key=lambda item: item.nodeid.partition("::")[0] not in FIRST)
    on_postgresql = set()
    for item in items:
        chosen = getattr(item, "callspec", None)
        servers = [chosen.params.get(name) for name in ("backend", "settings")] if chosen else []
        if (
            "postgresql" in servers
            or "rclone" in servers
            or STARTS_PROCESSES.intersection(getattr(item, "fixturenames", ()))
        ):
            item.add_marker(pytest.mark.slow)
        if "postgresql" in servers:
            test = item.nodeid.partition("[")[0]
            is_first = item.path.parent.name == "ledger" and test not in on_postgresql
            if not is_first and item.get_closest_marker("postgresql") is None:
                item.add_marker(pytest.mark.night)
            on_postgresql.add(test)
    if "night" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("night")]
    _left_out = len(left_out)
    items[:] = [item for item in items if item.get_closest_marker("night") is None]
    config.hook.pytest_deselected(items=left_out)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Report the number of omitted tests to the process that distributes the tests."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[NIGHT] = _left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Every worker collects all tests, so each has left out the same number."""
    global _left_out  # noqa: PLW0603
    _left_out = getattr(node, "workeroutput", {}).get(NIGHT, 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _left_out:
        terminalreporter.write_line(f"{_left_out} more of these tests are for the night: make prove")


def _skip_what_starts_a_process(event: str, _arguments: tuple[object, ...]) -> None:
    if _test_runs and event in {"subprocess.Popen", "os.fork", "os.posix_spawn"}:
        pytest.skip("this test starts a process, which no fast test may do: mark it slow")


def pytest_configure(config: pytest.Config) -> None:
    """The fast suite starts no process and tries few examples; the night tries many.

    The process that only distributes tests must start the workers.
    """
    distributes = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if distributes:
        # this process collects nothing
        gc.enable()
    if config.option.markexpr == "not slow" and not distributes:
        settings.load_profile("fast")
        sys.addaudithook(_skip_what_starts_a_process)
    if "hypothesis" in config.option.markexpr:
        settings.load_profile("long")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Set the audit hook's flag while a test runs."""
    global _test_runs  # noqa: PLW0603 - an audit hook stays until the process ends
    _test_runs = True
    try:
        return (yield)
    finally:
        _test_runs = False
