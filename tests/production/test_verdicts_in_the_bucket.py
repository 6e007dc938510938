"""The bucket stores verdicts too, so that a rebuilt ledger has them again."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from deliverykit import AS_MADE, CAPABILITIES, Depot
from hostile import File, serving
from makers import make_mp4
from verdictkit import a_verdict

from resources.errors import DailiesError, UnavailableError
from resources.ledger import polls
from resources.ledger.budget import Budget
from resources.ledger.finishes import buy_ordered, judge_and_finish, order_finish
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Attempt, Submission
from resources.ledger.selects import selects_of
from resources.ledger.states import AttemptState
from resources.ledger.verdicts import Word, judge, present_verdicts, unstored, verdicts_of
from resources.ledger.waiting_clips import waiting
from resources.orders import Choice, FinishOrder, Review
from resources.production.acceptance import Acceptor
from resources.production.bucket_mark import BucketMark, bind_bucket
from resources.production.ledger_rebuild import rebuild_ledger, report
from resources.production.verdict_objects import store_verdicts
from resources.providers.base import Accepted, JobState, JobStatus
from resources.storage.layout import VERDICTS, prompt_key
from resources.storage.objects import ObjectStore

pytestmark = pytest.mark.slow
CLIP = "city-night"
PRICE = 2_000_000


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_mp4(tmp_path_factory.mktemp("film") / "film.mp4").read_bytes()


@pytest.fixture
def depot(tmp_path: Path, store: ObjectStore, film: bytes, lent_inspector: None) -> Iterator[Depot]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with serving() as server, Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget()) as ledger:
        bind_bucket(ledger, store, buying=True)
        server.files["/clip.mp4"] = File(data=film)
        yield Depot(ledger, store, server, scratch)


def shown(depot: Depot) -> str:
    return str(json.loads(depot.store.get_bytes(f"videos/{CLIP}/current.json") or b"{}")["attempt"])


def rebuilt(depot: Depot, path: Path) -> tuple[Ledger, list[str]]:
    fresh = Ledger(f"sqlite:///{path}", budget=Budget())
    done = asyncio.run(rebuild_ledger(fresh, depot.store, {}, take_over=True))
    return fresh, report(done)


def test_a_lost_ledger_gets_its_verdicts_back(depot: Depot, tmp_path: Path) -> None:
    (first,) = depot.deliver(depot.finished(CLIP))
    (second,) = depot.deliver(depot.finished(CLIP, decision="tuesday"))
    judge(depot.ledger, a_verdict(second, Word.REJECTED, reasons=("hands",), note="six fingers"))
    judge(depot.ledger, a_verdict(first, note="the light"))
    assert shown(depot) == second.id
    assert store_verdicts(depot.ledger, depot.store) == 0
    assert shown(depot) == first.id
    fresh, lines = rebuilt(depot, tmp_path / "fresh.db")
    with fresh:
        there = verdicts_of(fresh, [CLIP])[CLIP]
        assert [one.verdict for one in there] == [
            one.verdict for one in verdicts_of(depot.ledger, [CLIP])[CLIP]
        ]
        present = {take: one.verdict.word for take, one in present_verdicts(there).items()}
        assert present == {first.id: Word.CIRCLED, second.id: Word.REJECTED}
        assert fresh.current([CLIP])[CLIP].id == first.id
        assert unstored(fresh) == []
        assert "2 verdicts of people on takes are back" in lines
        again = asyncio.run(rebuild_ledger(fresh, depot.store, {}))
        assert again.verdicts == 0


def test_without_the_objects_the_verdicts_would_be_lost(depot: Depot, tmp_path: Path) -> None:
    """The negative control."""
    (first,) = depot.deliver(depot.finished(CLIP))
    (second,) = depot.deliver(depot.finished(CLIP, decision="tuesday"))
    judge(depot.ledger, a_verdict(first))
    fresh, _ = rebuilt(depot, tmp_path / "fresh.db")
    with fresh:
        assert fresh.current([CLIP])[CLIP].id == second.id


def test_an_outage_of_the_bucket_loses_no_verdict(depot: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = depot.deliver(depot.finished(CLIP))
    said = judge(depot.ledger, a_verdict(first)).recorded
    with monkeypatch.context() as away:

        def gone(*_: object, **__: object) -> None:
            raise UnavailableError("S3 is down")

        away.setattr(ObjectStore, "put_bytes", gone)
        assert store_verdicts(depot.ledger, depot.store) == 1
    assert unstored(depot.ledger) == [said]
    assert store_verdicts(depot.ledger, depot.store) == 0
    assert len(list(depot.store.list_keys(VERDICTS))) == 1


def test_an_object_that_cannot_be_written_keeps_no_other_clips_verdict_back(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes = [depot.deliver(depot.finished(clip))[0] for clip in ("city-locked", "city-open")]
    locked, _ = (judge(depot.ledger, a_verdict(take)).recorded for take in takes)
    put = ObjectStore.put_bytes

    def refuses(store: ObjectStore, key: str, *values: object, **more: object) -> object:
        if "city-locked" in key:
            raise DailiesError("this key is locked")
        return put(store, key, *values, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ObjectStore, "put_bytes", refuses)
    assert store_verdicts(depot.ledger, depot.store) == 1
    assert unstored(depot.ledger) == [locked]


def test_a_verdict_is_stored_again_until_the_bucket_shows_its_take(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room that was killed between its two writes left the wrong take in `current.json`."""
    (first,) = depot.deliver(depot.finished(CLIP))
    (second,) = depot.deliver(depot.finished(CLIP, decision="tuesday"))
    judge(depot.ledger, a_verdict(first))
    put = ObjectStore.put_bytes
    with monkeypatch.context() as killed:

        def dies(store: ObjectStore, key: str, *values: object, **more: object) -> object:
            if key.endswith("/current.json"):
                raise KeyboardInterrupt
            return put(store, key, *values, **more)  # type: ignore[arg-type]

        killed.setattr(ObjectStore, "put_bytes", dies)
        with pytest.raises(KeyboardInterrupt):
            store_verdicts(depot.ledger, depot.store)
    assert shown(depot) == second.id
    assert store_verdicts(depot.ledger, depot.store) == 0
    assert shown(depot) == first.id


def test_circling_a_take_in_quarantine_accepts_it(depot: Depot, tmp_path: Path) -> None:
    black = make_mp4(tmp_path / "black.mp4", black_seconds=9).read_bytes()
    depot.server.files["/clip.mp4"] = File(data=black)
    (apart,) = depot.deliver(depot.finished(CLIP))
    assert apart.state is AttemptState.QUARANTINED
    said = a_verdict(apart, note="a night")
    acceptor = Acceptor(depot.ledger, depot.store, depot.scratch)
    judged = acceptor.circle(apart, said)
    accepted = depot.read(apart)
    assert (judged.recorded.verdict, accepted.state) == (said, AttemptState.DELIVERED)
    manifest = depot.manifest(accepted)
    assert manifest.accepted is not None
    assert (manifest.accepted.by, manifest.accepted.why) == ("mira", "a night")
    assert acceptor.circle(apart, said) == judged, "sent twice"


def sent_finish(depot: Depot, draft: Attempt) -> Attempt:
    """Circle a draft, and send the order of its finish to the provider."""
    judge_and_finish(depot.ledger, a_verdict(draft), at_most_micros=PRICE)
    submission = claim_next(depot.ledger, "wavespeed", PostTerms(Limits(), 30))
    assert isinstance(submission, Submission)
    return record_outcome(depot.ledger, submission, Accepted(f"finish-of-{draft.clip}", None, {}))


def test_a_rebuild_finishes_no_draft_twice(depot: Depot, tmp_path: Path) -> None:
    pro = Choice(
        provider="wavespeed", endpoint="pro", body={"prompt": "x"}, price_micros=PRICE, expected=AS_MADE
    )
    drafts = {}
    for clip in ("city-done", "city-way", "city-waits"):
        order: dict[str, Any] = {"finish": FinishOrder(choice=pro), "review": Review(by="person")}
        (drafts[clip],) = depot.deliver(depot.finished(clip, **order))
        asked = drafts[clip].request
        key = prompt_key(clip, asked.fingerprint)
        depot.store.put_bytes(key, asked.model_dump_json().encode(), content_type="application/json")
    done = sent_finish(depot, drafts["city-done"])
    seen = JobState(JobStatus.SUCCEEDED, "completed", outputs=(depot.server.url(),))
    (finish,) = depot.deliver(polls.record_end(depot.ledger, done, seen, CAPABILITIES))
    way = sent_finish(depot, drafts["city-way"])
    assert store_verdicts(depot.ledger, depot.store) == 0
    BucketMark(depot.ledger, depot.store).replace()
    fresh, lines = rebuilt(depot, tmp_path / "fresh.db")
    with fresh:
        assert lines[:2] == [
            "takes in the bucket: 4, of which the ledger did not know 4",
            "purchases that were further than the ledger knew: 0; on their way again: 1",
        ]
        bought = [*(draft.id for draft in drafts.values()), finish.id, way.id]
        before, after = depot.ledger.attempts(bought), fresh.attempts(bought)
        for name in ("state", "finishes", "is_draft", "slot", "endpoint", "job_id", "fingerprint"):
            assert {i: getattr(a, name) for i, a in after.items()} == {
                i: getattr(a, name) for i, a in before.items()
            }, name
        assert selects_of(fresh, list(drafts))["city-done"].take.attempt.id == finish.id
        assert [one.clip for one in waiting(fresh)] == ["city-waits"]
        assert buy_ordered(fresh) == []
        for clip in ("city-done", "city-way"):
            with pytest.raises(DailiesError, match="no circled draft that lacks a finish"):
                order_finish(
                    fresh, clip, decision=f"finish:{drafts[clip].id}", at_most_micros=PRICE, who="ana"
                )
        assert asyncio.run(rebuild_ledger(fresh, depot.store, {})).back == 0
