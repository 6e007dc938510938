"""Dagster's daemon, with a check for work before each tick: `python -m pipelines.daemon WORKSPACE`.

A tick costs about 0.1 s of CPU in three processes, even if there is nothing to do. So our sensors tick at their own interval only
while they have work, otherwise every ten minutes. The daemon checks for work at the sensor's own interval (5 ms), so that no clip
waits longer. Three private functions of Dagster are replaced, `is_under_min_interval`, `IntervalDaemon.core_loop` and
`QueuedRunCoordinatorDaemon._get_runs_to_dequeue`, and two private constants of its controller.
"""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster._daemon import controller
from dagster._daemon import sensor as sensor_daemon
from dagster._daemon.cli import main
from dagster._daemon.daemon import IntervalDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from pydantic import PrivateAttr

from pipelines import alarm_sensor, asset_checks, code_watch, declared_clips, gallery_sensor, runs, sensors
from resources.dagster_resources import Production
from resources.gallery.writer import newest_change
from resources.ledger.ledger import Ledger
from resources.log_lines import use_setting
from resources.settings import Settings

IDLE_SECONDS = 600.0
"""How often a sensor without work still ticks."""

REFRESH_SECONDS = 600
"""How often the daemon reads all definitions again although it noticed no reload of the code: 0.4 s of CPU in three processes."""

TOLERATED_SECONDS = 900
"""Dagster's daemon ends if it could not read the definitions for this time: after 300 s, if nobody set it."""

SETTINGS_SECONDS = 2.0
"""For how long the checks for work share the settings that one of them has read."""

WAKE_SECONDS = 2.0
"""How often the loops of Dagster's daemons wake: as often as the queue of runs is read (`dagster.yaml`)."""

ASK_AGAIN_SECONDS = 60.0
"""How often an account is checked for due bills and sweeps while the ledger is unchanged; they are due about once an hour."""

Question = Callable[[Production, str | None], bool]
"""Whether a sensor has work, from the resource and its cursor."""

logger = logging.getLogger("dailies")


def questions(instance: dg.DagsterInstance, production: Production) -> dict[str, Question]:
    """The check for work of each sensor, by its name. A sensor without one ticks at its own interval."""
    return {
        **{
            sensors.completion_name(account): AccountQuestion(account)
            for account in sensors.account_names(production)
        },
        "declared_clips": declared_clips.has_work,
        "gallery_pages": gallery_sensor.has_work,
        "alarms": alarm_sensor.has_work,
        "dead_runs": lambda production, _cursor: runs.has_dead(instance, production),
        "checks_after_clips": lambda _production, cursor: asset_checks.has_work(instance, cursor),
    }


class AskedProduction(Production):
    """The resource for checks, which keeps the ledger open between them.

    Opening a ledger costs ten times as much as a check. A ledger is opened again if its file was replaced, if it did not answer, and every
    `IDLE_SECONDS`. Reading the settings costs as much as a check, so the checks of one moment share them. For one thread.
    """

    _kept: tuple[Ledger, contextlib.ExitStack, object, float] | None = PrivateAttr(None)
    _read: tuple[Settings, float] | None = PrivateAttr(None)

    def settings(self) -> Settings:
        """The settings as they were a moment ago."""
        if self._read is None or time.monotonic() - self._read[1] >= SETTINGS_SECONDS:
            self._read = super().settings(), time.monotonic()
        return self._read[0]

    @contextlib.contextmanager
    def ledger(self, *, patience: float | None = None) -> Iterator[Ledger]:
        """The ledger, which stays open."""
        url = self.settings().ledger_url
        if self._kept is not None and (
            self._kept[2] != _file_of(url) or time.monotonic() - self._kept[3] >= IDLE_SECONDS
        ):
            self.close()
        if self._kept is None:
            with contextlib.ExitStack() as opening:
                ledger = opening.enter_context(super().ledger(patience=patience))
                self._kept = ledger, opening.pop_all(), _file_of(url), time.monotonic()
        try:
            yield self._kept[0]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the ledger; the next check opens it again."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept[1].close()


def _file_of(url: str) -> object:
    """The identity of a ledger: its address and, if it is a file, the file."""
    place = sa.make_url(url).database
    with contextlib.suppress(OSError):
        status = os.stat(place or "")  # noqa: PTH116 - each question asks
        return url, status.st_dev, status.st_ino
    return url


class AccountQuestion:
    """Whether an account has work.

    The ledger is queried after it has changed, and otherwise every minute for bills and sweeps that become due. A purchase is a change,
    so it is noticed at once.
    """

    def __init__(self, account: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Check one account.

        Args:
            monotonic: A monotonic clock, in seconds.
        """
        self._account = account
        self._monotonic = monotonic
        self._idle: tuple[int, float] | None = None

    def __call__(self, production: Production, _cursor: str | None) -> bool:
        """Whether there is work now.

        Raises:
            DailiesError: The ledger does not answer.
        """
        with production.ledger() as ledger:
            change = newest_change(ledger)
            if self._idle is not None and self._idle[0] == change:
                since = self._monotonic() - self._idle[1]
                if since < ASK_AGAIN_SECONDS:
                    return False
            self._idle = None
            if sensors.has_work(ledger, self._account):
                return True
        self._idle = change, self._monotonic()
        return False


def stretch_idle_intervals(
    production: Production, has_work: dict[str, Question], monotonic: Callable[[], float] = time.monotonic
) -> None:
    """Let sensors without work tick every `IDLE_SECONDS`, and check each for work at its own interval.

    Args:
        has_work: The checks, by the sensor's name.
        monotonic: A monotonic clock, in seconds.
    """
    is_under = sensor_daemon.is_under_min_interval
    idle_at: dict[str, float] = {}

    def is_under_or_idle(state: Any, remote_sensor: Any, *args: Any, **options: Any) -> bool:
        if is_under(state, remote_sensor, *args, **options):
            return True
        question, elapsed = has_work.get(remote_sensor.name), sensor_daemon.get_elapsed(state)
        if question is None or elapsed is None or elapsed >= IDLE_SECONDS:
            return False
        checked_at = idle_at.get(remote_sensor.name)
        if checked_at is not None and monotonic() - checked_at < (remote_sensor.min_interval_seconds or 0):
            return True
        try:
            idle = not question(production, getattr(state.instigator_data, "cursor", None))
        except Exception as error:  # noqa: BLE001 - the tick meets the same error, and shows it
            logger.warning("whether %s has work could not be found out: %s", remote_sensor.name, error)
            return False
        if idle:
            idle_at[remote_sensor.name] = monotonic()
        return idle

    sensor_daemon.is_under_min_interval = is_under_or_idle


def ask_first_whether_runs_wait() -> None:
    """Let each look at the queue end when no run waits.

    Dagster reads all active runs first, and then those that wait: a third of the work is enough in a second in which nothing waits.
    """
    find = QueuedRunCoordinatorDaemon._get_runs_to_dequeue  # noqa: SLF001 - there is no public place between question and answer
    waiting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])

    def find_if_any(
        self: Any, instance: dg.DagsterInstance, *args: Any, **options: Any
    ) -> list[dg.DagsterRun]:
        if not instance.get_run_ids(waiting, limit=1):
            return []
        return find(self, instance, *args, **options)

    QueuedRunCoordinatorDaemon._get_runs_to_dequeue = find_if_any  # type: ignore[method-assign]  # noqa: SLF001


class PatientEvent:
    """Dagster's event for the end of the daemon, on which each wait takes `WAKE_SECONDS` at least. The event still ends a wait at once."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def wait(self, timeout: float) -> bool:
        """Wait at least `timeout` seconds; True if the daemon is to end."""
        return self._event.wait(max(timeout, WAKE_SECONDS))


def wake_seldom() -> None:
    """Let the loops of Dagster's daemons wake every `WAKE_SECONDS`, not twice a second. Call this before they start."""
    loop = IntervalDaemon.core_loop

    def core_loop(self: Any, context: Any, shutdown_event: threading.Event) -> Any:
        return loop(self, context, PatientEvent(shutdown_event))  # type: ignore[arg-type]

    IntervalDaemon.core_loop = core_loop  # type: ignore[assignment, method-assign]


def refresh_calmly() -> None:
    """Let the daemon read the definitions every `REFRESH_SECONDS`, not every minute. Call this before it starts."""
    controller.RELOAD_WORKSPACE_INTERVAL = REFRESH_SECONDS
    controller.DEFAULT_WORKSPACE_FRESHNESS_TOLERANCE = TOLERATED_SECONDS


def run(workspace: str) -> None:
    """Run Dagster's daemon until it is ended."""
    code_watch.watch_calmly()
    refresh_calmly()
    wake_seldom()
    ask_first_whether_runs_wait()
    with dg.DagsterInstance.get() as instance:
        production = AskedProduction()
        stretch_idle_intervals(production, questions(instance, production))
        sys.argv = ["dagster-daemon", "run", "-w", workspace]
        main()


if __name__ == "__main__":
    use_setting()
    run(sys.argv[1])
