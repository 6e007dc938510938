"""The workshop accepts, times and charges jobs for the fronts of all providers."""

import asyncio
import hmac
import re
import secrets
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from resources.errors import ConfigurationError
from resources.money import usd
from resources.sandbox.books import Books, Fate, Job
from resources.sandbox.endpoints import SandboxEndpoint, load_endpoints
from resources.sandbox.faults import (
    EmptyOutputs,
    Fail,
    FaultRule,
    Faults,
    JobSeconds,
    NotYetKnown,
    Spoil,
    Stuck,
    Subject,
    Substitute,
    TakenBack,
    Unlisted,
    WrongSize,
    load_faults,
)
from resources.sandbox.front_registry import fronts
from resources.sandbox.media import ClipStore, Footage
from resources.sandbox.settings import Pace, SandboxSettings


def endpoint_of(job: Job) -> SandboxEndpoint:
    """The endpoint of a job."""
    return load_endpoints()[job.provider][job.endpoint]


def _fate(rules: list[FaultRule]) -> Fate:
    """The faults of a job, from the rules that fired at its submit."""
    fate: dict[str, Any] = {"faults": tuple(rule.name for rule in rules)}
    for rule in rules:
        match rule.then:
            case Fail(error=error, code=code):
                fate |= {"error": error, "code": code}
            case EmptyOutputs():
                fate["empty"] = True
            case TakenBack(shows=shows, seconds=until, error=error):
                fate |= {"taken_back": shows, "taken_back_after": until, "taken_back_error": error}
            case WrongSize(width=width, height=height):
                fate["size"] = (width, height)
            case Spoil(do="mute"):
                fate["mute"] = True
            case Spoil(do=flaw):
                fate["flaw"] = flaw
            case Unlisted(seconds=hidden):
                fate["hidden_seconds"] = hidden
            case NotYetKnown(seconds=unknown):
                fate["unknown_seconds"] = unknown
    return Fate(**fate)


async def sleep(_rule: str, seconds: float, _port: int) -> None:
    """A delay in real time."""
    await asyncio.sleep(seconds)


class Workshop:
    """One sandbox: its books, clips, faults and pace.

    Args:
        clock: Seconds since the epoch; tests pass a fake one.
        faults: None for the fault script of the settings.
        wait: Waits for a delay, given the rule's name, its seconds and the client's port; None for real time.

    Attributes:
        pace: Settings that can change while it runs.
        faults: The active rules.
        directory: For clips and uploads.

    Raises:
        ConfigurationError: The fault script is wrong, or the state directory cannot be used.
    """

    def __init__(
        self,
        settings: SandboxSettings,
        clock: Callable[[], float],
        faults: Faults | None = None,
        wait: Callable[[str, float, int], Awaitable[None]] | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.wait = wait or sleep
        self.pace: Pace = settings.pace
        script = load_faults(settings.faults_path) if settings.faults_path else None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if settings.state_path is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="dailies-sandbox-")
            self.directory = Path(self._temporary.name)
            self.books = Books()
        else:
            self.directory = settings.state_path
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                self.books = Books(self.directory / "sandbox.sqlite")
            except (OSError, sqlite3.Error) as error:
                raise ConfigurationError(
                    f"the state directory {self.directory} cannot be used ({error}); is another sandbox using it?"
                ) from error
        # one thread makes all clips, because every thread that has encoded keeps tens of megabytes
        self._maker = ThreadPoolExecutor(1, "sandbox-clips")
        self._clips = ClipStore(self.directory / "clips", settings.clip_bytes)
        self.faults = faults or Faults(list(script.faults) if script else [], self.books.tallies())

    def close(self) -> None:
        """Close the books and remove temporary files."""
        self._maker.shutdown()
        self.books.close()
        if self._temporary:
            self._temporary.cleanup()

    def strike(self, subject: Subject) -> list[FaultRule]:
        """The rules that fire for a request; their counts survive a restart."""
        hit = self.faults.strike(subject)
        for rule in self.faults.rules:
            if rule.operation == subject.operation:
                self.books.keep_tally(rule.key, self.faults.tally(rule))
        return hit

    def accept(
        self,
        *,
        account: str,
        model: str,
        job_id: str,
        body: dict[str, Any],
        params: dict[str, Any],
        price_micros: int,
        rules: Iterable[FaultRule],
        base_url: str,
        submission_id: str | None = None,
        webhook: str | None = None,
    ) -> Job:
        """Accept a job: decide its times and faults, and store it."""
        now = self.clock()
        number = self.books.next_number()
        starts_at = self.books.free_at(account, self.pace.slots, now)
        seconds = self.pace.job_seconds * (
            1 + self.pace.spread * Random(f"{self.settings.seed}:{number}").uniform(-1, 1)
        )
        served, rules = model, list(rules)
        for rule in rules:
            match rule.then:
                case Substitute(model=other):
                    served = other
                case JobSeconds(seconds=taken):
                    seconds = taken
                case Stuck():
                    seconds = float("inf")
        job = Job(
            number=number,
            id=job_id,
            provider=account.partition(".")[0],
            account=account,
            endpoint=model,
            model=served,
            media=secrets.token_hex(16),
            body=body,
            params=params,
            submission_id=submission_id,
            base_url=base_url,
            webhook=webhook,
            received_at=now,
            starts_at=starts_at,
            ends_at=starts_at + seconds,
            price_micros=price_micros,
            fate=_fate(rules),
        )
        self.books.add(job)
        return job

    async def clip(self, job: Job) -> Footage:
        """The finished file of a job, made in a thread if it is new."""
        frame = job.frame(endpoint_of(job).frame(job.params))
        # a finish shows what its draft shows
        shot = str(job.params.get("shot", job.id))
        return await asyncio.get_running_loop().run_in_executor(self._maker, self._clips.clip, shot, frame)

    def account(self, provider: str, key: str) -> str | None:
        """The account of a key, None for a wrong key. `<key>.<name>` is the key of another account at the same provider."""
        ours = self.settings.key.get_secret_value()
        mine, name = key[: len(ours)], key[len(ours) :]
        if not hmac.compare_digest(mine.encode("utf-8", "replace"), ours.encode()):
            return None
        return provider + name if re.fullmatch(r"(\.[a-z0-9-]{1,40})?", name) else None

    def key(self, account: str) -> str:
        """The key of an account."""
        _, dot, name = account.partition(".")
        return self.settings.key.get_secret_value() + dot + name

    def balance_micros(self, account: str) -> int:
        """The balance of an account. Some providers deduct at once and refund failures, others charge completed jobs."""
        start = usd(self.pace.balance_usd)
        now = self.clock()
        if _charges_at_once(account):
            refunded = self.books.failed_micros(account, now - self.pace.refund_seconds)
            return start - self.books.ordered_micros(account) + refunded
        return start - self.books.completed_micros(account, now)

    def available_micros(self, account: str) -> int:
        """The money that an account can still order for; who charges completed jobs reserves the price of running ones."""
        if _charges_at_once(account):
            return self.balance_micros(account)
        held = self.books.ordered_micros(account) - self.books.failed_micros(account, self.clock())
        return usd(self.pace.balance_usd) - held

    def charged_micros(self, job: Job) -> int:
        """The charge of a job so far, without its refund."""
        if _charges_at_once(job.account):
            return job.price_micros
        return job.price_micros if job.ends_at <= self.clock() and job.fate.error is None else 0

    def refunded_micros(self, job: Job) -> int:
        """The refund of a job so far."""
        failed = _charges_at_once(job.account) and job.fate.error is not None
        return job.price_micros if failed and job.ends_at + self.pace.refund_seconds <= self.clock() else 0

    def keeps(self, job: Job) -> bool:
        """Whether the provider still keeps a job and its output."""
        return self.clock() - job.received_at <= fronts()[job.provider].keeps_seconds(self.settings)

    def too_many(self, account: str) -> bool:
        """Whether the last minute's jobs leave no room for another."""
        limit = self.pace.submits_per_minute
        return limit is not None and self.books.accepted_since(account, self.clock() - 60) >= limit


def _charges_at_once(account: str) -> bool:
    return fronts()[account.partition(".")[0]].charges_at_once
