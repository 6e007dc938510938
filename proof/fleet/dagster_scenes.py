"""Scenes for a Dagster on several hosts. Each clip is requested once, and no person acts after that."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from proof.children import ROOT
from proof.fleet.celery_installation import CeleryInstallation
from proof.fleet.fleet import CONTROL, WORKERS, DatabaseServer
from proof.fleet.installation import CAP_USD, CLI, SECOND_CONTROL, Installation
from proof.fleet.scenes import (
    AHEAD_SECONDS,
    CABLE_OUT_SECONDS,
    DATABASE_AWAY_SECONDS,
    PATIENCE_SECONDS,
    TWO_MINUTES,
    FleetOutcome,
    are_bought,
    break_laws,
    in_words,
    providers_of,
    verdict_of,
    wait_for_ends,
    wait_for_jobs,
)
from proof.stand_in.mischief import Mischief

OTHER_CAP_USD = "7"
REBOOT_SECONDS = 30.0
_MIGRATIONS = "resources/ledger/migrations/versions"

Scene = Callable[[Installation, FleetOutcome, str, list[str]], None]


def run_dagster(
    folder: Path,
    database: DatabaseServer,
    *,
    clips: int,
    scenes: Sequence[str],
    launcher: str,
    say: Callable[[str], None],
) -> FleetOutcome:
    """Play scenes on one installation with the shipped settings.

    Args:
        clips: Number of clips of all scenes together; each scene has its own series.
        scenes: Names from `DAGSTER_SCENES`.
        launcher: What starts the runs, a name from `LAUNCHERS`.
    """
    mischief = replace(Mischief.none(7), posts={"slow": 1.0}, job_seconds=30.0)
    each = max(1, clips // len(scenes))
    with providers_of(folder, mischief) as providers:
        fleet = LAUNCHERS[launcher](folder, database, clips, providers)
        fleet.declare(scenes, each)
        with fleet:
            outcome = FleetOutcome(
                hosts=f"network namespaces, each with code servers, daemons and homes of its own; runs by {launcher}"
            )
            fleet.run(CONTROL, *CLI, "policy", "apply")
            asked: list[str] = []
            for scene in scenes:
                began = time.monotonic()
                theirs = fleet.clips_of(scene, each)
                asked += theirs
                ended = _play(fleet, outcome, scene, theirs)
                outcome.verdict = verdict_of(fleet, asked)
                say(f"{scene}: {time.monotonic() - began:.0f} s; so far {in_words(outcome)}")
                if not ended:
                    break
            outcome.exits = {f"starts of {name}": count for name, count in sorted(fleet.starts.items())}
            outcome.broken_on_purpose = break_laws(fleet, asked)
            return outcome


LAUNCHERS = {"code servers": Installation, "celery": CeleryInstallation}


def _play(fleet: Installation, outcome: FleetOutcome, scene: str, clips: list[str]) -> bool:
    """Play a scene until Dagster shows all ends; False if it failed, and no other scene can follow."""
    try:
        DAGSTER_SCENES[scene](fleet, outcome, scene, clips)
        fleet.wait_for("the ends in Dagster", fleet.is_over, seconds=PATIENCE_SECONDS)
    except (RuntimeError, TimeoutError) as error:
        outcome.missed.append(f"{scene}: {error}")
        return False
    return True


@contextlib.contextmanager
def _asked(
    fleet: Installation, scene: str, what: str, until: Callable[[], bool]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `produce --wait` for the clips of a scene; yields its process when `until` holds.

    Raises:
        RuntimeError: `produce --wait` failed before that.
    """
    asked = fleet.ask_and_wait(scene)

    def is_there() -> bool:
        if asked.poll():
            raise RuntimeError(f"`produce --wait` ended with {asked.returncode}: {fleet.said_at(scene)}")
        return until()

    try:
        fleet.wait_for(what, is_there, seconds=PATIENCE_SECONDS)
        yield asked
    finally:
        asked.kill()
        asked.wait()


def worker_killed(fleet: Installation, outcome: FleetOutcome, scene: str, clips: list[str]) -> None:
    """The host of a waiting run loses its power for good; the run's retry finishes, and `produce --wait` exits with 0."""
    with _asked(fleet, scene, "jobs", lambda: are_bought(fleet, clips)) as asked:
        run, host = _run_of(fleet, clips)
        services = fleet.power_off(host)
        died = time.monotonic()
        fleet.wait_for("its death", lambda: fleet.is_lost(run), seconds=PATIENCE_SECONDS)
        outcome.seconds["killed: known to be dead after"] = time.monotonic() - died
        wait_for_ends(fleet, clips)
        expect_in_time(outcome, "killed: all its clips delivered after", died)
        fleet.wait_for("`produce --wait`", lambda: asked.poll() is not None, seconds=PATIENCE_SECONDS)
        if asked.returncode != 0:
            outcome.missed.append(
                f"`produce --wait` ended with {asked.returncode} although all its clips were delivered"
            )
        fleet.power_on(host, services)


def cable_out(fleet: Installation, outcome: FleetOutcome, scene: str, clips: list[str]) -> None:
    """The host of a run loses its cable with a POST in flight, for longer than the POST's lease; the cable returns after another host has delivered."""
    with _asked(fleet, scene, "a POST in flight", lambda: fleet.has_post_in_flight(clips)):
        run, host = _run_of(fleet, clips)
        fleet.hosts[host].cut()
        pulled = time.monotonic()
        fleet.wait_for("its death", lambda: fleet.is_lost(run), seconds=PATIENCE_SECONDS)
        wait_for_ends(fleet, clips)
        outcome.seconds["cable out: all its clips delivered after"] = time.monotonic() - pulled
        fleet.wait_for(
            "the cable", lambda: time.monotonic() - pulled > CABLE_OUT_SECONDS, seconds=PATIENCE_SECONDS
        )
        fleet.hosts[host].mend()


def bucket_away(fleet: Installation, outcome: FleetOutcome, scene: str, clips: list[str]) -> None:
    """No host reaches S3 for a minute while a run's jobs end; connections stay open."""
    fleet.ask(scene)
    wait_for_jobs(fleet, clips)
    for host in fleet.hosts.values():
        host.cut_from("s3")
    _pass(fleet, DATABASE_AWAY_SECONDS)
    for host in fleet.hosts.values():
        host.mend_to("s3")
    back = time.monotonic()
    wait_for_ends(fleet, clips)
    expect_in_time(outcome, "S3 back: all clips delivered after", back)


def control_rebooted(fleet: Installation, outcome: FleetOutcome, scene: str, clips: list[str]) -> None:
    """The control host loses its power while a worker has POSTs in flight, and returns half a minute later."""
    fleet.ask(scene)
    fleet.wait_for("a POST in flight", lambda: fleet.has_post_in_flight(clips), seconds=PATIENCE_SECONDS)
    services = fleet.power_off(CONTROL)
    _pass(fleet, REBOOT_SECONDS)
    fleet.power_on(CONTROL, services)
    back = time.monotonic()
    wait_for_ends(fleet, clips)
    expect_in_time(outcome, "control host rebooted: all clips delivered after", back)


def control_cut_off(fleet: Installation, outcome: FleetOutcome, scene: str, clips: list[str]) -> None:
    """The control host cannot reach the database for a minute while a worker has POSTs in flight."""
    fleet.ask(scene)
    fleet.wait_for("a POST in flight", lambda: fleet.has_post_in_flight(clips), seconds=PATIENCE_SECONDS)
    fleet.hosts[CONTROL].cut_from("db")
    _pass(fleet, DATABASE_AWAY_SECONDS)
    fleet.hosts[CONTROL].mend_to("db")
    back = time.monotonic()
    wait_for_ends(fleet, clips)
    expect_in_time(outcome, "control host back: all clips delivered after", back)


def database_away(fleet: Installation, outcome: FleetOutcome, scene: str, clips: list[str]) -> None:
    """PostgreSQL, which holds Dagster's tables and the ledger, is away for a minute while POSTs are in flight."""
    fleet.ask(scene)
    fleet.wait_for("a POST in flight", lambda: fleet.has_post_in_flight(clips), seconds=PATIENCE_SECONDS)
    fleet.database.go_away()
    _pass(fleet, DATABASE_AWAY_SECONDS)
    fleet.database.come_back()
    back = time.monotonic()
    wait_for_ends(fleet, clips)
    expect_in_time(outcome, "database back: all clips delivered after", back)


def two_daemons(fleet: Installation, outcome: FleetOutcome, scene: str, clips: list[str]) -> None:
    """A second daemon runs on another host; the first is killed for good, and the second takes over."""
    fleet.add_daemon(SECOND_CONTROL)
    _pass(fleet, 30)
    fleet.ask(scene)
    wait_for_jobs(fleet, clips)
    fleet.remove(CONTROL, "daemon")
    died = time.monotonic()
    wait_for_ends(fleet, clips)
    expect_in_time(outcome, "first of two daemons killed: all clips delivered after", died)
    fleet.add_daemon(CONTROL)
    fleet.remove(SECOND_CONTROL, "daemon")


def clock_ahead(fleet: Installation, outcome: FleetOutcome, scene: str, clips: list[str]) -> None:
    """A worker's clock is five minutes ahead: neither its run nor another host's run is declared dead."""
    fleet.set_clock_ahead("w2", AHEAD_SECONDS)
    fleet.replace_code("w2")
    with _asked(fleet, scene, "jobs", lambda: are_bought(fleet, clips)):
        run, _ = _run_of(fleet, clips)
        wait_for_ends(fleet, clips)
        if fleet.is_lost(run):
            outcome.missed.append("a run whose host's clock is ahead was declared dead")
    fleet.set_clock_ahead("w2", 0)
    fleet.replace_code(*WORKERS)


def settings_differ(fleet: Installation, outcome: FleetOutcome, scene: str, clips: list[str]) -> None:
    """One worker has another cap, then another data folder: each time its run is refused with both values, and another host buys."""
    fleet.run(CONTROL, *CLI, "data", "push", "-m", "the proof")
    fleet.variables["w1"]["DAILIES_MAX_USD_PER_MONTH"] = OTHER_CAP_USD
    fleet.replace_code("w1")
    _expect_refused(fleet, outcome, scene, clips, "policy", ("$7.00", "$500.00"))
    fleet.variables["w1"]["DAILIES_MAX_USD_PER_MONTH"] = CAP_USD
    file = fleet.folder / "w2" / "data" / "series" / f"{scene}.yaml"
    file.write_text(file.read_text().replace("lighthouse", "windmill"))
    fleet.replace_code("w2")
    _expect_refused(fleet, outcome, scene, clips, "data", ("the folder of this host", "the data folder "))
    shutil.copytree(fleet.folder / "data", fleet.folder / "w2" / "data", dirs_exist_ok=True)
    fleet.replace_code(*WORKERS)
    fleet.ask(scene)
    wait_for_ends(fleet, clips)


def old_beside_new(fleet: Installation, outcome: FleetOutcome, scene: str, clips: list[str]) -> None:
    """One worker runs the version before the last migration on the migrated ledger; the other hosts run the current version."""
    revision = _before_the_last_migration()
    if revision is None:
        outcome.missed.append("no older version: this folder is not a git clone with its history")
        return
    old = fleet.folder / "old"
    old.mkdir()
    packed = subprocess.run(["git", "archive", revision], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(old)], input=packed, check=True)
    fleet.code["w2"] = old
    fleet.replace_code("w2")
    with _asked(fleet, scene, "jobs", lambda: are_bought(fleet, clips)):
        _, host = _run_of(fleet, clips)
        if host != "w2":
            outcome.missed.append(f"the run of the old version was on {host}")
        fleet.add_code("w1")
        wait_for_ends(fleet, clips)
    del fleet.code["w2"]
    fleet.replace_code(*WORKERS)


DAGSTER_SCENES: dict[str, Scene] = {
    "killed": worker_killed,
    "cable": cable_out,
    "s3": bucket_away,
    "reboot": control_rebooted,
    "control": control_cut_off,
    "database": database_away,
    "daemons": two_daemons,
    "clock": clock_ahead,
    "differ": settings_differ,
    "old": old_beside_new,
}


def _pass(fleet: Installation, seconds: float) -> None:
    began = time.monotonic()
    fleet.wait_for("time", lambda: time.monotonic() - began > seconds, seconds=seconds + PATIENCE_SECONDS)


def _run_of(fleet: Installation, clips: list[str]) -> tuple[str, str]:
    """The run that watches these clips, and its host."""
    found: dict[str, str] = {}

    def has_claimed() -> bool:
        found.update(fleet.hosts_of_runs(clips))
        return bool(found)

    fleet.wait_for("the run", has_claimed, seconds=PATIENCE_SECONDS)
    return next(iter(found.items()))


def _expect_refused(
    fleet: Installation,
    outcome: FleetOutcome,
    scene: str,
    clips: list[str],
    what: str,
    words: tuple[str, ...],
) -> None:
    """A run on a host with other settings fails, names both values and buys nothing."""
    (run,) = fleet.ask(scene)
    fleet.wait_for("a refused run", lambda: fleet.runs()[run] == "FAILURE", seconds=PATIENCE_SECONDS)
    said = fleet.why_failed(run)
    outcome.said[f"a host whose {what} differs"] = said
    if not all(word in said for word in words):
        outcome.missed.append(f"a host whose {what} differs did not say both values: {said}")
    if fleet.states(clips):
        outcome.missed.append(f"a host whose {what} differs has bought")


def expect_in_time(outcome: FleetOutcome, what: str, since: float, now: float | None = None) -> None:
    """Record how long something took; more than two minutes is a problem.

    Args:
        since: Its start, by `time.monotonic`.
        now: Its end, by the same clock; None means now.
    """
    taken = outcome.seconds[what] = (time.monotonic() if now is None else now) - since
    if taken > TWO_MINUTES:
        outcome.missed.append(f"{what} {taken:.0f} s")


def _before_the_last_migration() -> str | None:
    """The commit before the one that added the newest migration."""
    newest = max(path.name for path in (ROOT / _MIGRATIONS).glob("0*.py"))
    log = ["git", "log", "--format=%H", "--diff-filter=A", "-1", "--", f"{_MIGRATIONS}/{newest}"]
    found = subprocess.run(log, cwd=ROOT, check=False, capture_output=True, text=True).stdout.strip()
    return f"{found}~1" if found else None
