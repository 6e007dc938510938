"""`make test ARGS=--cpu` prints the CPU seconds of each test file, ended child processes included.

Wall time says little on a busy machine. A fixture that several files share counts for the file that needs it first.
"""

import os
from collections.abc import Generator

import pytest

OPTION = "--cpu"
PROPERTY = "cpu seconds"
SHOWN_FILES = 50

_since = 0.0


def _used() -> float:
    """CPU seconds of this process and of its children that have ended."""
    return sum(os.times()[:4])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, action="store_true", help="print the CPU seconds of each test file")


def pytest_runtest_logstart() -> None:
    global _since  # noqa: PLW0603 - tests run one after another in a process
    _since = _used()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    global _since  # noqa: PLW0603
    report = yield
    if item.config.getoption(OPTION):
        now = _used()
        item.user_properties.append((PROPERTY, now - _since))
        report.user_properties = list(item.user_properties)
        _since = now
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not config.getoption(OPTION):
        return
    by_file: dict[str, list[float]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            # the last of a test's three reports includes the time of all three
            if getattr(report, "when", None) == "teardown":
                seconds = sum(value for name, value in report.user_properties if name == PROPERTY)
                by_file.setdefault(report.nodeid.split("::")[0], []).append(seconds)
    terminalreporter.section("CPU seconds by file")
    for file, seconds in sorted(by_file.items(), key=lambda found: -sum(found[1]))[:SHOWN_FILES]:
        terminalreporter.write_line(f"{sum(seconds):8.1f} s  {len(seconds):5} tests  {file}")
    every = [one for seconds in by_file.values() for one in seconds]
    terminalreporter.write_line(f"{sum(every):8.1f} s  {len(every):5} tests  all")
