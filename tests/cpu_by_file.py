"""`make test ARGS=--cpu` prints the CPU seconds of each test file, ended child processes included, and the files that took longest.

Wall time says little on a busy machine, but the files that end last show what the whole run waits for (`tiers.FIRST`). A fixture that
several files share counts for the file that needs it first.
"""

import os
from collections.abc import Generator

import pytest

OPTION = "--cpu"
PROPERTY = "cpu seconds"
SHOWN_FILES = 50
SHOWN_LONGEST = 15

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
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    for report in (one for reports in terminalreporter.stats.values() for one in reports):
        if not isinstance(report, pytest.TestReport):
            continue
        file = report.nodeid.split("::")[0]
        began[file] = min(began.get(file, report.start), report.start)
        ended[file] = max(ended.get(file, report.stop), report.stop)
        # the last of a test's three reports includes the time of all three
        if report.when == "teardown":
            seconds = sum(value for name, value in report.user_properties if name == PROPERTY)
            by_file.setdefault(file, []).append(seconds)
    terminalreporter.section("CPU seconds by file")
    for file, seconds in sorted(by_file.items(), key=lambda found: -sum(found[1]))[:SHOWN_FILES]:
        terminalreporter.write_line(f"{sum(seconds):8.1f} s  {len(seconds):5} tests  {file}")
    every = [one for seconds in by_file.values() for one in seconds]
    terminalreporter.write_line(f"{sum(every):8.1f} s  {len(every):5} tests  all")
    terminalreporter.section("files that took longest")
    first = min(began.values(), default=0.0)
    for file in sorted(began, key=lambda file: began[file] - ended[file])[:SHOWN_LONGEST]:
        lasted, cpu = ended[file] - began[file], sum(by_file.get(file, []))
        terminalreporter.write_line(
            f"{lasted:8.1f} s, of which CPU {cpu:6.1f} s, until {ended[file] - first:6.0f} s  {file}"
        )
