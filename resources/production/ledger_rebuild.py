"""`dailies ledger rebuild`: reading back what was bought from the bucket, the providers' listings and their bills.

It never buys. What is in the bucket is delivered; what the mark says is on its way is asked for again; jobs that nobody
knows are written down as such. Then the bucket's mark is the ledger's again, and it may buy.
"""

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from resources.errors import ConfigurationError
from resources.ledger.ledger import Ledger
from resources.ledger.lost import orphans
from resources.ledger.recovery import rebuild
from resources.ledger.recovery.mark import Mark, OnItsWay, knows, renew_id
from resources.ledger.recovery.rebuild import FETCHED, ManifestTake, Taken
from resources.ledger.states import MoneyState
from resources.orders import ClipRequest, Expected
from resources.production.bucket_mark import BUCKET_FACT, BucketMark, place_of, read_mark
from resources.production.manifests import delivery_of
from resources.providers.base import Provider
from resources.providers.listing import charged_jobs
from resources.providers.rows import SetAside, in_words, set_aside
from resources.retry import retry_free_call
from resources.storage.layout import QUARANTINE, VIDEOS, manifest_of, prompt_key
from resources.storage.manifest import Manifest, ManifestError
from resources.storage.objects import ObjectStore

READERS = 16
LISTED_DAYS = 30.0
"""How far back listings and bills are read where a provider does not say how long it keeps outputs."""
LOCK_SECONDS = 300.0


@dataclass
class Rebuilt:
    """What a rebuild found and did."""

    manifests: int = 0
    """Manifests in the bucket."""
    adopted: int = 0
    """Takes the ledger did not have."""
    led_on: int = 0
    """Takes and jobs the ledger had in an earlier state."""
    back: int = 0
    """Purchases that are on their way again."""
    withdrawn: list[str] = field(default_factory=list)
    """Clips that were queued and are not any more."""
    orphans: dict[str, list[str]] = field(default_factory=dict)
    """By account, jobs that are new and nobody's."""
    blocked: list[str] = field(default_factory=list)
    """Clips whose later purchase waits for an earlier one to end; nothing may be bought before that."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, in sentences."""

    @property
    def may_buy(self) -> bool:
        """Whether the ledger knows all that was bought, as far as can be read."""
        return not self.blocked


async def rebuild_ledger(
    ledger: Ledger,
    store: ObjectStore,
    providers: Mapping[str, Provider],
    *,
    take_over: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Rebuilt:
    """Bring a ledger up to what the bucket and the providers know.

    Args:
        ledger: The record, restored from a copy or new.
        providers: The accounts to read, by name.
        take_over: Whether the bucket may belong to another ledger, which is refused from then on.
        tell: Called with a line for a person at every step.

    Raises:
        ConfigurationError: The bucket belongs to another ledger and is not to be taken over, or the ledger to another.
        resources.errors.UnavailableError: The bucket, a listing or a bill could not be read to its end. What was read
            before is kept, and nothing may be bought yet: run it again.
    """
    mark = read_mark(store)
    _check_ownership(ledger, store, mark, take_over=take_over)
    done = Rebuilt()
    with ledger.lock("rebuild", seconds=LOCK_SECONDS, wait=0):
        tell("reading the manifests in the bucket")
        stored = await _take_in_manifests(ledger, store, done)
        if mark is not None:
            await _take_back(ledger, store, [o for o in mark.on_their_way if o.attempt not in stored], done)
        done.withdrawn = [a.subject_key for a in rebuild.withdraw_queued(ledger)]
        for name, provider in sorted(providers.items()):
            tell(f"reading the listing and the bill of {name}")
            done.orphans[name], aside = await _book_jobs(ledger, provider)
            if aside:
                done.problems.append(f"{name}: of its listings and bills, {in_words(aside)}")
        if done.may_buy:
            _show_itself(ledger, store, mark)
    return done


def _check_ownership(ledger: Ledger, store: ObjectStore, mark: Mark | None, *, take_over: bool) -> None:
    """Refuse a bucket of another ledger unless it is to be taken over."""
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
            "DAILIES_LEDGER_URL). If it is lost, `dailies ledger rebuild --take-over` makes this one its successor; the other "
            "is refused from then on. Nothing was changed."
        )


def _show_itself(ledger: Ledger, store: ObjectStore, mark: Mark | None) -> None:
    """Make the bucket the ledger's own again; a copy that is at work elsewhere is refused from now on."""
    if mark is None or mark.ledger != ledger.fact("ledger_id") or not knows(ledger, mark):
        if mark is not None:
            # should this process die before the next line's work is done, the next rebuild knows the bucket for its own
            ledger.remember(f"formerly {mark.ledger}", "rebuilt")
        renew_id(ledger)
    BucketMark(ledger, store).replace()
    ledger.remember(BUCKET_FACT, place_of(store))


# The bucket


async def _take_in_manifests(ledger: Ledger, store: ObjectStore, done: Rebuilt) -> set[str]:
    """Write down every take that has a manifest; returns the attempts they name."""
    places = await asyncio.to_thread(_manifests, store)
    done.manifests = len(places)
    known = {a.id for a in ledger.attempts(list(places)).values() if a.state in FETCHED}
    missing = [(attempt, key) for attempt, key in places.items() if attempt not in known]
    takes = await _each(missing, lambda place: _read_take(store, place[1], done))
    for take in sorted((take for take in takes if take is not None), key=lambda t: t.submitted_at):
        _count(done, take.request.clip, rebuild.take_in(ledger, take))
    return set(places)


def _manifests(store: ObjectStore) -> dict[str, str]:
    """The keys of all manifests by attempt; one in `videos/` counts more than one in `quarantine/`."""
    places: dict[str, str] = {}
    for folder in (QUARANTINE, VIDEOS):
        for key in store.list_keys(folder):
            found = manifest_of(VIDEOS + key.removeprefix(folder))
            if found is not None:
                places[found[1]] = key
    return places


def _read_take(store: ObjectStore, key: str, done: Rebuilt) -> ManifestTake | None:
    data = store.get_bytes(key)
    if data is None:
        return None
    try:
        manifest = Manifest.from_json_bytes(data, where=store.uri(key))
    except ManifestError as error:
        done.problems.append(str(error))
        return None
    asked = _prompt(store, manifest.clip, manifest.fingerprint)
    bought = asked.as_bought(manifest.provider, manifest.endpoint) if asked is not None else None
    request = bought or _request_of(manifest)
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
        # what is stored was finished, and what is finished is charged
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
        spare=manifest.spare,
    )


def _prompt(store: ObjectStore, clip: str, fingerprint: str) -> ClipRequest | None:
    """The request as it was rendered, None where it is gone or cannot be read by this version."""
    data = store.get_bytes(prompt_key(clip, fingerprint))
    try:
        return None if data is None else ClipRequest.model_validate_json(data)
    except ValidationError:
        return None


def _request_of(manifest: Manifest) -> ClipRequest:
    """What a manifest alone tells of a request; enough to know the clip by."""
    return ClipRequest(
        clip=manifest.clip,
        series=manifest.series,
        provider=manifest.provider,
        endpoint=manifest.endpoint,
        body=manifest.body,
        price_micros=manifest.cost.micros,
        expected=Expected(),
        asked=manifest.asked,
    )


# What was on its way


async def _take_back(ledger: Ledger, store: ObjectStore, items: list[OnItsWay], done: Rebuilt) -> None:
    prompts = await _each(items, lambda item: _prompt(store, item.clip, item.fingerprint))
    for item, prompt in zip(items, prompts, strict=True):
        if prompt is None:
            done.problems.append(
                f"{item.clip}: {store.uri(prompt_key(item.clip, item.fingerprint))} is gone, so its video cannot be compared "
                "with what was asked for"
            )
        bought = prompt.as_bought(item.provider, item.endpoint) if prompt is not None else None
        taken = rebuild.take_back(ledger, item, bought or _request_of_item(item))
        if taken is Taken.ADOPTED:
            done.back += 1
        else:
            _count(done, item.clip, taken)


def _request_of_item(item: OnItsWay) -> ClipRequest:
    return ClipRequest(
        clip=item.clip,
        series=item.series,
        provider=item.provider,
        endpoint=item.endpoint,
        body={},
        price_micros=item.quoted_micros,
        expected=Expected(),
    )


def _count(done: Rebuilt, clip: str, taken: Taken) -> None:
    match taken:
        case Taken.ADOPTED:
            done.adopted += 1
        case Taken.LED_ON:
            done.led_on += 1
        case Taken.BLOCKED:
            done.blocked.append(clip)
        case Taken.KNOWN:
            pass


# The providers


async def _book_jobs(ledger: Ledger, provider: Provider) -> tuple[list[str], list[SetAside]]:
    """Write down every job that is listed or billed and that nobody knows; returns their ids, and rows that were set aside."""
    now = datetime.fromtimestamp(ledger.clock(), UTC)
    days = provider.capabilities.output_days or LISTED_DAYS
    found: list[str] = []
    aside: list[SetAside] = []
    before = now + timedelta(hours=1)
    while before > now - timedelta(days=days):
        after = before - timedelta(days=1)
        # dozens of reads, and a person waits: one that fails must not have all of them begun anew
        listed = await retry_free_call(functools.partial(provider.list_jobs, after=after, before=before))
        found += orphans.book(ledger, provider.name, listed)
        billed = await retry_free_call(functools.partial(provider.charges, after=after, before=before))
        aside += [*set_aside(listed), *set_aside(billed)]
        found += orphans.book(ledger, provider.name, charged_jobs(billed), source=orphans.BILL)
        before = after
    return found, aside


async def _each(items: Iterable[Any], read: Callable[[Any], Any]) -> list[Any]:
    """Read many objects side by side, in the order asked for."""
    turns = asyncio.Semaphore(READERS)

    async def one(item: Any) -> Any:
        async with turns:
            return await asyncio.to_thread(read, item)

    return list(await asyncio.gather(*(one(item) for item in items)))


def report(done: Rebuilt) -> list[str]:
    """What a rebuild found, in lines for a person."""
    lines = [
        f"{done.manifests} takes are in the bucket: {done.adopted} were not in the ledger",
        f"{done.led_on} purchases were further than the ledger knew, {done.back} are on their way again",
    ]
    if done.withdrawn:
        lines.append(
            f"{len(done.withdrawn)} clips were queued and are not any more, since they may have been bought meanwhile: "
            "ask for them again"
        )
    for account, jobs in done.orphans.items():
        lines.append(
            f"{account}: {len(jobs)} jobs that nobody here knows of{': ' if jobs else ''}{', '.join(jobs[:5])}"
            + (", ..." if len(jobs) > 5 else "")
        )
    lines += done.problems
    if done.blocked:
        lines.append(
            f"not finished: {', '.join(done.blocked[:5])} must wait for an earlier purchase to end, which the completion sensor "
            "sees to. Nothing may be bought until then: run `dailies ledger rebuild` again in a few minutes"
        )
    else:
        lines.append("the ledger knows what was bought; it may buy again")
    return lines
