"""No query of a tick, a claim, a decision, a poll, a delivery or a bill reads the ledger's history."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from explained import MOST_ROWS, explaining
from fakes import (
    LOSES_THE_ANSWER,
    Ends,
    Job,
    World,
    a_request,
    rejects,
)

from resources.file_references import FileReference
from resources.ledger import data_pushes, deliveries, heartbeats, purchases, uploads
from resources.ledger.decision_clips import fix_clips
from resources.ledger.decisions import Decision, decide, known_purchases
from resources.ledger.handover import handover_of
from resources.ledger.limits import Limits
from resources.ledger.lost.closures import match_callback
from resources.ledger.records import Attempt
from resources.ledger.recovery.mark import knows, mark_of, newest_seq
from resources.ledger.schema import attempts
from resources.ledger.shared_tables import decision_data
from resources.metrics import exposition
from resources.orders import ClipRequest
from resources.production.batch import Stage
from resources.providers.base import FailureKind, JobStatus

# these tests need a ledger with a history
pytestmark = pytest.mark.slow

ACCOUNT = "wavespeed"
HOUR = 3600.0


@pytest.fixture
def world(history_url: str) -> Iterator[World]:
    made = World(history_url)
    yield made
    made.ledger.close()


def introduce(world: World) -> None:
    """Give the provider the jobs of the history that may still be polled."""
    polled = attempts.c.next_poll_at.is_not(None) | attempts.c.late_at.is_not(None)
    with world.ledger.read() as connection:
        rows = connection.execute(sa.select(attempts).where(attempts.c.account == ACCOUNT, polled)).all()
    for attempt in map(Attempt.from_row, rows):
        goes = Ends(after=90) if attempt.state.is_open else Ends(JobStatus.FAILED)
        job = Job(attempt.job_id or "", attempt.clip, attempt.submitted_at or 0, goes, model=None)
        world.provider.jobs[job.id] = job


def live(world: World, old: list[ClipRequest]) -> None:
    """Run every event of a purchase's life through the product's functions."""
    provider, ledger = world.provider, world.ledger
    provider.answers["clip-lost"] = [LOSES_THE_ANSWER]
    provider.answers["clip-refused"] = [rejects(FailureKind.INVALID)]
    provider.answers["clip-throttled"] = [rejects(FailureKind.THROTTLED, retry_after=1)]
    provider.jobs_go["clip-fails"] = [Ends(JobStatus.FAILED, failure=FailureKind.PROVIDER)]
    provider.jobs_go["clip-gone"] = [Ends(JobStatus.GONE)]
    provider.jobs_go["clip-late"] = [Ends(after=4000)]
    names = ("good", "lost", "refused", "throttled", "fails", "gone", "late", "checked")
    requests = [a_request(f"clip-{name}", series="harbor", max_attempts=2) for name in names]
    world.deliverer.quarantines.add("clip-checked")
    engine = world.engine(Limits(in_flight=100, per_minute=600))
    with ledger.write() as connection:
        heartbeats.require(connection, "run-1")
    heartbeats.begin(ledger, "run-1", "me")
    fix_clips(ledger, "today", [r.clip for r in [*requests, *old]])
    known_purchases(ledger, [r.clip for r in [*requests, *old]])
    again = [r.model_copy(update={"body": {**r.body, "prompt": f"new {r.clip}"}}) for r in old[:3]]
    decision = Decision("today", batch="run-1", watched_by="run-1")
    decided = decide(ledger, [*requests, *old[3:], *again], decision, run_id="run-1")
    # the ticks below wait for the late job; a waiting run would query the ledger a hundred thousand times
    soon = [one for one in decided if one.request.clip != "clip-late"]
    world.run(world.follower(Stage.DELIVERED, engine).follow(soon))
    decide(ledger, [*requests, *old], Decision("another", batch="run-2", regenerate=True))
    provider.charged_after = -60
    for pause in (10, 10, 60, 400, HOUR, 6 * HOUR, 25 * HOUR):
        for account in (ACCOUNT,):
            tick(world, account)
            world.run(engine.step(account))
        world.clock.forward(pause)
    for run in ("run-1", "run-2"):
        str(handover_of(ledger, [run]))
    str(purchases.purchases_of(ledger, "today"))
    heartbeats.lost(ledger, ["run-1"])
    assert world.ledger.current(["clip-good"])
    post = provider.posts_of("clip-good")[-1]
    match_callback(ledger, ACCOUNT, post.submission_id, "job-of-a-callback", model=None)
    mark = mark_of(ledger)
    assert knows(ledger, mark)
    assert newest_seq(ledger) == mark.seq
    deliveries.spares_to_fetch(ledger, ["clip-good"])
    exposition(ledger)


def delivered(world: World, number: int) -> list[ClipRequest]:
    """The requests of the clips that were delivered last."""
    mine = (attempts.c.state == "delivered", attempts.c.account == ACCOUNT)
    with world.ledger.read() as connection:
        rows = connection.execute(
            sa.select(attempts).where(*mine).order_by(attempts.c.seq.desc()).limit(number)
        )
        return [Attempt.from_row(row).request for row in rows]


def tick(world: World, account: str) -> None:
    """The queries of a sensor before and after the engine's step."""
    from pipelines.sensors import _is_due

    deliveries.unreported(world.ledger, account)
    _is_due(world.ledger, account)


@pytest.mark.postgresql
def test_no_event_of_a_purchase_reads_the_history(world: World) -> None:
    introduce(world)
    old = delivered(world, 10)
    with explaining() as explained:
        live(world, old)
    assert not explained.too_much, f"\n{explained}"


@pytest.mark.postgresql
def test_the_files_of_queued_purchases_are_found_without_the_history(world: World) -> None:
    ledger = world.ledger
    digests = ["a" * 64, "b" * 64]
    for digest in digests:
        data_pushes.push(ledger, digest, files=1, size=1, who="ann", note="")
    picture = FileReference("images/hill.png", "c" * 64)
    request = a_request("clip-picture")
    body = {**request.body, "image": str(picture)}
    decide(ledger, [request.model_copy(update={"body": body})], Decision("of-a-push"))
    with ledger.write() as connection:
        # a decision was made of a folder at every tick of the history
        decisions = connection.execute(sa.select(attempts.c.decision).distinct()).scalars()
        named = {f"tick-{number}": digests[0] for number in range(3 * MOST_ROWS)}
        named |= dict.fromkeys(decisions, digests[0]) | {"of-a-push": digests[1]}
        rows = [{"decision": decision, "digest": digest} for decision, digest in named.items()]
        connection.execute(sa.insert(decision_data), rows)
    with explaining() as explained:
        assert digests[1] in data_pushes.of_unsent(ledger)
        assert picture in uploads.needed(ledger, ACCOUNT, limit=200)
    assert not explained.too_much, f"\n{explained}"


@pytest.mark.postgresql
def test_a_missing_index_is_noticed(world: World) -> None:
    with world.ledger.write() as connection:
        connection.execute(sa.text("DROP INDEX attempts_unreported"))
    with explaining() as explained:
        deliveries.unreported(world.ledger, ACCOUNT)
    assert set(explained.too_much) == {"deliveries.py: unreported"}
