"""`dailies ledger rebuild`: it records in a lost ledger what the bucket, the providers' listings and their bills show as bought.

A rebuild never buys. Takes in the bucket are recorded as delivered, open purchases of the mark are polled again, and unknown
jobs are recorded as orphans. Then the ledger writes its own mark into the bucket, and may buy.
"""

import asyncio
import contextlib
import functools
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from resources.errors import ConfigurationError, UnavailableError
from resources.file_references import FileReference
from resources.ledger import heartbeats, keys, locks, stops
from resources.ledger.ledger import Ledger
from resources.ledger.lost import orphans
from resources.ledger.recovery import rebuild
from resources.ledger.recovery.mark import Mark, OnItsWay, knows, renew_id
from resources.ledger.recovery.rebuild import FETCHED, ManifestTake, Taken
from resources.ledger.states import MoneyState
from resources.orders import ClipRequest, Expected
from resources.production.bucket_mark import BUCKET_FACT, BucketMark, place_of, read_mark
from resources.production.manifests import delivery_of
from resources.production.verdict_objects import record_stored_verdicts
from resources.providers.listing import charged_jobs
from resources.providers.provider import Provider
from resources.providers.rows import SetAside, in_words, set_aside
from resources.retry import retry_free_call
from resources.storage.layout import QUARANTINE, VIDEOS, manifest_of, prompt_key
from resources.storage.manifest import Manifest, ManifestError
from resources.storage.objects import ObjectStore

READERS = 16
LISTED_DAYS = 30.0
"""How far back listings and bills are read if a provider does not say how long it keeps outputs."""
LOCK_SECONDS = 300.0
NAMED = 3
"""The most runs and POSTs that a refusal names."""


@dataclass
class Rebuilt:
    """The result of a rebuild."""

    manifests: int = 0
    """Manifests in the bucket."""
    adopted: int = 0
    """Takes that the ledger did not have."""
    verdicts: int = 0
    """Verdicts of people that the ledger did not have."""
    led_on: int = 0
    """Takes and jobs that the ledger had in an earlier state."""
    back: int = 0
    """Open purchases of the mark that were recorded again."""
    withdrawn: list[str] = field(default_factory=list)
    """Clips whose queued purchase was withdrawn."""
    unordered: list[str] = field(default_factory=list)
    """Clips whose finish was ordered but not bought; the order was withdrawn."""
    orphans: dict[str, list[str]] = field(default_factory=dict)
    """New jobs that no purchase owns, by account."""
    blocked: list[str] = field(default_factory=list)
    """Clips whose later purchase must wait for the end of an earlier one. Until then nothing may be bought."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, in sentences."""

    @property
    def may_buy(self) -> bool:
        """Whether the ledger knows every purchase that bucket and providers show."""
        return not self.blocked


async def rebuild_ledger(
    ledger: Ledger,
    store: ObjectStore,
    providers: Mapping[str, Provider],
    *,
    take_over: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Rebuilt:
    """Record in a ledger the purchases that the bucket and the providers show.

    Args:
        ledger: A ledger that was restored from a copy, or a new one.
        providers: The accounts to read, by name.
        take_over: Whether the bucket may belong to another ledger, which the bucket refuses from then on.
        tell: Called with a line for a person at every step.

    Raises:
        ConfigurationError: The bucket belongs to another ledger and is not to be taken over, or the ledger to another.
        UnavailableError: A run works with this ledger, or a POST is in flight; nothing was changed. Or the bucket, a listing or a
            bill could not be read to its end; what was read before is kept, and nothing may be bought before another rebuild.
    """
    mark = read_mark(store)
    _check_ownership(ledger, store, mark, take_over=take_over)
    rebuilt = Rebuilt()
    with locks.hold(ledger, "rebuild", seconds=LOCK_SECONDS, wait=0), _buying_stopped(ledger):
        keys.distrust_earlier_posts(ledger)
        tell("reading the manifests in the bucket")
        stored = await _record_manifests(ledger, store, rebuilt)
        rebuilt.verdicts, problems = await asyncio.to_thread(record_stored_verdicts, ledger, store)
        rebuilt.problems += problems
        await asyncio.to_thread(rebuild.pass_circles_on, ledger)
        if mark is not None:
            await _take_back(
                ledger, store, [o for o in mark.on_their_way if o.attempt not in stored], rebuilt
            )
        rebuilt.withdrawn = [a.subject_key for a in rebuild.withdraw_queued(ledger)]
        rebuilt.unordered = rebuild.withdraw_orders(ledger)
        for name, provider in sorted(providers.items()):
            tell(f"reading the listing and the bill of {name}")
            rebuilt.orphans[name], aside = await _book_jobs(ledger, provider)
            if aside:
                rebuilt.problems.append(f"{name}: of its listings and bills, {in_words(aside)}")
        if rebuilt.may_buy:
            _show_itself(ledger, store, mark)
    return rebuilt


@contextlib.contextmanager
def _buying_stopped(ledger: Ledger) -> Iterator[None]:
    """Stop all buying during the block, also by an idle daemon on another host.

    A stop that somebody else made stays. A stop that a killed rebuild left ends with this one.
    """
    stop = stops.stop(ledger, reason=f"{stops.REBUILDING} on {socket.gethostname()}")
    try:
        if buyers := heartbeats.buyers(ledger):
            named = "; ".join(buyers[:NAMED]) + ("; and others" if len(buyers) > NAMED else "")
            raise UnavailableError(
                f"a rebuild may not run beside others that work with this ledger: {named}. End `dailies up`, daemons and code servers on "
                "every host, and try again. Nothing was changed."
            )
        yield
    finally:
        if stop.is_of_rebuild:
            stops.reopen(ledger, stop)


def _check_ownership(ledger: Ledger, store: ObjectStore, mark: Mark | None, *, take_over: bool) -> None:
    """Refuse a bucket of another ledger, unless it is to be taken over."""
    place, kept = place_of(store), ledger.fact(BUCKET_FACT)
    if kept is not None and kept != place:
        raise ConfigurationError(
            f"this ledger belongs to the bucket {kept}, not to {place}. Set DAILIES_S3_BUCKET back; nothing was changed."
        )
    if mark is None or mark.ledger == ledger.fact("ledger_id") or ledger.fact(f"formerly {mark.ledger}"):
        return
    if not take_over:
        raise ConfigurationError(
            f"the bucket {place} belongs to another ledger ({mark.ledger}). If that one is at work, use it (DAILIES_HOME or "
            "DAILIES_LEDGER_URL). If it is lost, put its newest copy back (`dailies ledger backups`, `dailies ledger restore`); without a copy, "
            "`dailies ledger rebuild --take-over` makes this one its successor, and the other is refused from then on. Nothing was changed."
        )


def _show_itself(ledger: Ledger, store: ObjectStore, mark: Mark | None) -> None:
    """Write the ledger's mark into the bucket, so that the bucket refuses a copy that is in use elsewhere."""
    if mark is None or mark.ledger != ledger.fact("ledger_id") or not knows(ledger, mark):
        if mark is not None:
            # if this process dies, the next rebuild knows that the bucket is its own
            ledger.remember(f"formerly {mark.ledger}", "rebuilt")
        renew_id(ledger)
    BucketMark(ledger, store).replace()
    ledger.remember(BUCKET_FACT, place_of(store))


# The bucket


async def _record_manifests(ledger: Ledger, store: ObjectStore, rebuilt: Rebuilt) -> set[str]:
    """Record every take that has a manifest; returns the ids of the attempts."""
    places = await asyncio.to_thread(_manifests, store)
    rebuilt.manifests = len(places)
    known = {a.id for a in ledger.attempts(list(places)).values() if a.state in FETCHED}
    missing = [(attempt, key) for attempt, key in places.items() if attempt not in known]
    takes = await _read_each(missing, lambda place: _read_take(store, place[1], rebuilt))
    for take in sorted((take for take in takes if take is not None), key=lambda t: t.submitted_at):
        _count(rebuilt, take.request.clip, rebuild.record_take(ledger, take))
    return set(places)


def _manifests(store: ObjectStore) -> dict[str, str]:
    """The keys of all manifests by attempt; one in `videos/` replaces one in `quarantine/`."""
    places: dict[str, str] = {}
    for folder in (QUARANTINE, VIDEOS):
        for key in store.list_keys(folder):
            take = manifest_of(VIDEOS + key.removeprefix(folder))
            if take is not None:
                places[take[1]] = key
    return places


def _read_take(store: ObjectStore, key: str, rebuilt: Rebuilt) -> ManifestTake | None:
    data = store.get_bytes(key)
    if data is None:
        return None
    try:
        manifest = Manifest.from_json_bytes(data, where=store.uri(key))
    except ManifestError as error:
        rebuilt.problems.append(str(error))
        return None
    original = _request_in_bucket(store, manifest)
    bought = original.as_bought(manifest.provider, manifest.endpoint) if original is not None else None
    # two choices of one endpoint may differ in the account
    request = (bought or _request_of(manifest)).at_account(manifest.account)
    request = request.taken_as(manifest.slot, manifest.seed)
    return _take(manifest, request, store)


def _take(manifest: Manifest, request: ClipRequest, store: ObjectStore) -> ManifestTake:
    times = manifest.times
    delivered_at = times.delivered.timestamp()
    finished_at = delivered_at if times.finished is None else times.finished.timestamp()
    return ManifestTake(
        attempt=manifest.attempt,
        request=request,
        fingerprint=manifest.fingerprint,
        account=manifest.account,
        decision=manifest.decision,
        submission=manifest.submission,
        job=manifest.job,
        # a stored take comes from a finished job, which is charged
        money=MoneyState.CONFIRMED,
        charged_micros=manifest.cost.micros,
        charge_source=manifest.cost.source,
        submitted_at=finished_at if times.submitted is None else times.submitted.timestamp(),
        finished_at=finished_at,
        delivered_at=delivered_at,
        served_model=manifest.endpoint_served,
        inference_seconds=times.inference_seconds,
        delivery=delivery_of(manifest, store),
        quarantined=manifest.quarantined_for,
        run_id=manifest.run_id,
        draft_id=manifest.draft_id,
        draft=manifest.draft,
        spare=manifest.spare,
    )


def _request_in_bucket(store: ObjectStore, of: Manifest | OnItsWay) -> ClipRequest | None:
    """The rendered order; a finish's order is part of its draft's. None if it is gone."""
    if of.finishes is None:
        return _prompt(store, of.clip, of.fingerprint)
    draft = _prompt(store, of.clip, of.finishes.fingerprint)
    if draft is None:
        return None
    frame = FileReference.parse(of.finishes.first_frame)
    return draft.finishing(
        of.finishes.attempt, draft_id=of.finishes.draft_id, seed=of.seed, first_frame=frame
    )


def _prompt(store: ObjectStore, clip: str, fingerprint: str) -> ClipRequest | None:
    """The rendered request; None if it is gone or this version cannot read it."""
    data = store.get_bytes(prompt_key(clip, fingerprint))
    try:
        return None if data is None else ClipRequest.model_validate_json(data)
    except ValidationError:
        return None


def _request_of(manifest: Manifest) -> ClipRequest:
    """The request as far as the manifest has it; enough to recognise the clip."""
    return ClipRequest(
        clip=manifest.clip,
        series=manifest.series,
        provider=manifest.provider,
        endpoint=manifest.endpoint,
        body=manifest.body,
        price_micros=manifest.cost.micros,
        expected=Expected(),
        asked=manifest.asked,
        finishes=manifest.finishes,
        declared_fingerprint=manifest.fingerprint,
    )


# Open purchases of the mark


async def _take_back(ledger: Ledger, store: ObjectStore, items: list[OnItsWay], rebuilt: Rebuilt) -> None:
    prompts = await _read_each(items, lambda item: _request_in_bucket(store, item))
    for item, prompt in zip(items, prompts, strict=True):
        if prompt is None:
            rebuilt.problems.append(
                f"{item.clip}: {store.uri(prompt_key(item.clip, item.fingerprint))} is gone, so its video cannot be compared "
                "with what was asked for"
            )
        bought = prompt.as_bought(item.provider, item.endpoint) if prompt is not None else None
        request = (bought or _request_of_item(item)).at_account(item.account)
        taken = rebuild.take_back(ledger, item, request.taken_as(item.slot, item.seed))
        if taken is Taken.ADOPTED:
            rebuilt.back += 1
        else:
            _count(rebuilt, item.clip, taken)


def _request_of_item(item: OnItsWay) -> ClipRequest:
    return ClipRequest(
        clip=item.clip,
        series=item.series,
        provider=item.provider,
        endpoint=item.endpoint,
        finishes=item.finishes,
        body={},
        price_micros=item.quoted_micros,
        expected=Expected(),
    )


def _count(rebuilt: Rebuilt, clip: str, taken: Taken) -> None:
    match taken:
        case Taken.ADOPTED:
            rebuilt.adopted += 1
        case Taken.LED_ON:
            rebuilt.led_on += 1
        case Taken.BLOCKED:
            rebuilt.blocked.append(clip)
        case Taken.KNOWN:
            pass


# The providers


async def _book_jobs(ledger: Ledger, provider: Provider) -> tuple[list[str], list[SetAside]]:
    """Record every listed or billed job that the ledger does not know; returns their ids, and the rows that were set aside."""
    now = datetime.fromtimestamp(ledger.clock(), UTC)
    offers, ordered = provider.capabilities, orphans.models_of(ledger, provider.name)
    days = LISTED_DAYS if offers.output_seconds is None else max(offers.output_seconds / 86_400, 1.0)
    booked: list[str] = []
    aside: list[SetAside] = []
    before = now + timedelta(hours=1)
    while before > now - timedelta(days=days):
        after = before - timedelta(days=1)
        # a person waits for dozens of reads, so one that fails must not restart them all
        if offers.lists_jobs:
            listed = await retry_free_call(
                functools.partial(provider.list_jobs, after=after, before=before, endpoints=ordered)
            )
            booked += orphans.book(ledger, provider.name, listed)
            aside += set_aside(listed)
        if offers.bills_jobs:
            billed = await retry_free_call(functools.partial(provider.charges, after=after, before=before))
            aside += set_aside(billed)
            booked += orphans.book(ledger, provider.name, charged_jobs(billed), source=orphans.BILL)
        before = after
    return booked, aside


async def _read_each(items: Iterable[Any], read: Callable[[Any], Any]) -> list[Any]:
    """Read many objects side by side; the results have the order of the items."""
    turns = asyncio.Semaphore(READERS)

    async def one(item: Any) -> Any:
        async with turns:
            return await asyncio.to_thread(read, item)

    return list(await asyncio.gather(*(one(item) for item in items)))


def report(rebuilt: Rebuilt) -> list[str]:
    """The result of a rebuild, in lines for a person."""
    lines = [
        f"takes in the bucket: {rebuilt.manifests}, of which the ledger did not know {rebuilt.adopted}",
        f"purchases that were further than the ledger knew: {rebuilt.led_on}; on their way again: {rebuilt.back}",
    ]
    if rebuilt.verdicts:
        lines.append(f"{rebuilt.verdicts} verdicts of people on takes are back")
    if rebuilt.withdrawn:
        lines.append(
            f"{len(rebuilt.withdrawn)} queued clips were withdrawn, since they may have been bought meanwhile: "
            "order them again"
        )
    if rebuilt.unordered:
        lines.append(
            f"{len(rebuilt.unordered)} ordered finishes were withdrawn, since they may have been bought meanwhile: "
            "`dailies finish` orders them again"
        )
    for account, jobs in rebuilt.orphans.items():
        lines.append(
            f"{account}: {len(jobs)} jobs that nobody here knows of{': ' if jobs else ''}{', '.join(jobs[:5])}"
            + (", ..." if len(jobs) > 5 else "")
        )
    lines += rebuilt.problems
    if rebuilt.blocked:
        lines.append(
            f"not finished: {', '.join(rebuilt.blocked[:5])} must wait until the completion sensor has ended an earlier purchase. "
            "Nothing may be bought until then: run `dailies ledger rebuild` again in a few minutes"
        )
    else:
        lines.append("the ledger knows what was bought; it may buy again")
    return lines
