"""`dailies verify-provider`: buy the cheapest job, after asking, and compare the live service with its documentation."""

import asyncio
import datetime as dt
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.text import Text

from pipelines.cli.bucket import bucket_if_any
from pipelines.cli.terminal import complain, counted, print_json, print_table, table_of, tell
from resources.catalogue import Catalogue
from resources.catalogue.drift import Drift, drifts
from resources.errors import DailiesError, UnavailableError
from resources.ledger.limits import Limits
from resources.ledger.states import AttemptState
from resources.money import show_usd, to_usd
from resources.production.account import Account, bind_account
from resources.production.bucket_mark import BucketMark, bind_bucket
from resources.providers.accounts import AccountSettings, build_provider
from resources.providers.provider import Provider
from resources.providers.registry import spec_of
from resources.settings import Settings, open_ledger
from resources.storage.download import download
from resources.verification.comparison import Observation
from resources.verification.observations import DeliveredFile, findings, went_well
from resources.verification.offers import Offer, cheapest
from resources.verification.probe import Probe, Watched, close
from resources.verification.recorder import Recorder

COLOURS = {"differs": "red", "not seen": "yellow", "new": "cyan", "as documented": "green"}


@dataclass(frozen=True)
class Trial:
    """The arguments of the command."""

    account: str
    endpoint: str | None
    """The endpoint to buy, None for the cheapest."""
    allow_retired: bool
    """Whether a retired endpoint may be bought."""
    wait_seconds: float
    """How long to wait for the job."""
    settle_seconds: float
    """How long to wait for the listing and the bill after the job's end."""


@dataclass(frozen=True)
class TrialReport:
    """The result of the command."""

    offer: Offer
    """The purchase."""
    watched: Watched
    """What the service did."""
    findings: list[Observation]
    """The comparison with the contract."""

    @property
    def differs(self) -> bool:
        """Whether the service differs from its documentation, or the job failed."""
        return any(f.verdict == "differs" for f in self.findings) or not went_well(self.watched)


async def verify(
    settings: Settings, trial: Trial, *, ask: Callable[[str], None], say: Callable[[str], None]
) -> TrialReport:
    """Verify an account by buying one job.

    Args:
        trial: The arguments of the command.
        ask: Asks the person whether to spend the money; raises unless they agree.
        say: Prints progress.

    Raises:
        ConfigurationError: There is no such account, no key, or nothing that may be bought.
        resources.errors.UnavailableError: The provider does not answer at all.
    """
    account = settings.account(trial.account)
    key = account.api_key.get_secret_value() if account.api_key else ""
    recorder = Recorder(spec_of(account.provider).documented, key, network=account.network)
    catalogue = Catalogue.of(settings.data)
    for problem in catalogue.problems:
        complain(str(problem))
    provider = build_provider(account, transport=recorder.transport())
    try:
        say(f"{account.name} at {account.base_url}, balance {await _balance(provider)}")
        today = dt.datetime.now(dt.UTC).date()
        offer = await cheapest(
            catalogue,
            provider,
            seller=account.provider,
            endpoint=trial.endpoint,
            allow_retired=trial.allow_retired,
            today=today,
        )
        drift = await _drift(provider, offer, today)
        shown = ", ".join(f"{name} {value}" for name, value in offer.body.items() if name != "prompt")
        ask(f"buy one {offer.endpoint.id} ({shown}) from {account.name} for {show_usd(offer.micros)}")
        with open_ledger(settings) as ledger, bucket_if_any(settings) as bucket:
            bind_account(ledger, account)
            mark = None
            if bucket is not None:
                await asyncio.to_thread(bind_bucket, ledger, bucket.store, buying=True)
                mark = BucketMark(ledger, bucket.store)
            probe = Probe(
                ledger,
                Account(
                    provider,
                    Limits(account.max_in_flight, account.submits_per_minute),
                    account.submit_deadline_seconds,
                    account.settle_seconds,
                ),
                recorder,
                wait_seconds=trial.wait_seconds,
                settle_seconds=trial.settle_seconds,
                say=say,
                mark=mark,
            )
            watched = await probe.run(offer)
            film = await asyncio.to_thread(_film, settings, account, watched)
            if watched.attempt is not None and watched.attempt.state is AttemptState.SUCCEEDED:
                watched.attempt = close(ledger, watched.attempt, why="a job that probed its provider")
        observations = findings(offer, recorder, watched, drift=drift, film=film, clock=provider.clock_offset)
        return TrialReport(offer, watched, observations)
    finally:
        await provider.aclose()


async def _balance(provider: Provider) -> str:
    """The account's balance as text; a service without one is still verified."""
    try:
        return show_usd(await provider.balance())
    except UnavailableError as error:
        return f"unknown ({error})"


async def _drift(provider: Provider, offer: Offer, today: dt.date) -> list[Drift]:
    """Differences between the provider's list and the endpoint; none for a service without a list."""
    try:
        return drifts(offer.endpoint, await provider.models(), quote=None, today=today)
    except UnavailableError:
        return []


def _film(settings: Settings, account: AccountSettings, watched: Watched) -> DeliveredFile | str | None:
    """Fetch and inspect the output as a delivery would; a stand-in on this machine may serve it itself."""
    from resources.video.inspector import inspect_video

    if watched.state is None or not watched.state.outputs:
        return None
    parts = urlsplit(account.base_url)
    local = {f"http://{parts.netloc}"} if parts.scheme == "http" else set()
    usual = settings.download_policy
    policy = replace(usual, allowed_origins=usual.allowed_origins | local)
    with tempfile.TemporaryDirectory(prefix="dailies-verify-") as folder:
        path = Path(folder) / "clip.mp4"
        try:
            fetched = download(watched.state.outputs[0], path, policy=policy)
            facts = inspect_video(path).video
        except DailiesError as error:
            return str(error)
    return DeliveredFile(
        fetched.content_type, fetched.size, facts.width, facts.height, facts.duration, facts.has_audio
    )


def show(report: TrialReport) -> None:
    """Print the report for a person, differences first."""
    table = table_of("", "what", "documented", "seen", wraps={"what", "documented", "seen"})
    for finding in report.findings:
        verdict = Text(finding.verdict, style=COLOURS[finding.verdict])
        table.add_row(verdict, Text(finding.about), Text(finding.documented), Text(finding.seen))
    print_table(table)
    different = sum(finding.verdict == "differs" for finding in report.findings)
    attempt = report.watched.attempt
    if attempt is not None:
        tell(f"{attempt.clip}: {attempt.state.value}, job {attempt.job_id}, in `dailies ledger`")
    if different:
        complain(f"{counted(different, 'difference')} from the documented contract")
    else:
        tell("no difference from the documented contract was seen")


def print_document(report: TrialReport) -> None:
    """Print the report for a program."""
    attempt, charge = report.watched.attempt, report.watched.charge
    print_json(
        {
            "provider": report.offer.endpoint.provider,
            "endpoint": report.offer.endpoint.id,
            "request": report.offer.body,
            "price_usd": None if report.offer.micros is None else str(to_usd(report.offer.micros)),
            "charged_usd": None if charge is None else str(to_usd(charge.micros)),
            "attempt": None if attempt is None else attempt.id,
            "job": None if attempt is None else attempt.job_id,
            "state": None if attempt is None else attempt.state.value,
            "states": [_state(word, after) for word, after in report.watched.words],
            "listed_after_seconds": report.watched.listed_after,
            "billed_after_seconds": report.watched.billed_after,
            "differs": report.differs,
            "findings": [asdict(finding) for finding in report.findings],
        }
    )


def _state(word: str, after: float) -> dict[str, Any]:
    return {"state": word, "after_seconds": round(after, 2)}
