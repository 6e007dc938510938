"""Verdicts are in the bucket too: a ledger that was lost gets them back."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from deliverykit import Depot
from hostile import File, serving
from makers import make_mp4
from verdictkit import a_verdict

from resources.errors import UnavailableError
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.states import AttemptState
from resources.ledger.verdicts import Word, judge, standing, unstored, verdicts_of
from resources.production.acceptance import circle
from resources.production.bucket_mark import bind_bucket
from resources.production.ledger_rebuild import rebuild_ledger, report
from resources.production.verdict_objects import store_verdicts
from resources.storage.embedded import EmbeddedS3
from resources.storage.layout import VERDICTS
from resources.storage.objects import ObjectStore

pytestmark = pytest.mark.slow
CLIP = "city-night"


@pytest.fixture
def depot(tmp_path: Path) -> Iterator[Depot]:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with EmbeddedS3(tmp_path / "s3") as s3, serving() as server:
        store = ObjectStore(s3.settings)
        with Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget()) as ledger:
            bind_bucket(ledger, store, buying=True)
            server.files["/clip.mp4"] = File(data=make_mp4(tmp_path / "film.mp4").read_bytes())
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
        stands = {take: one.verdict.word for take, one in standing(there).items()}
        assert stands == {first.id: Word.CIRCLED, second.id: Word.REJECTED}
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


def test_a_bucket_that_is_away_costs_no_verdict(depot: Depot, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_verdict_is_stored_anew_until_the_bucket_shows_its_take(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room that was killed between both had left the wrong take in `current.json`."""
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
    judged = circle(depot.ledger, depot.store, apart, said, scratch=depot.scratch)
    accepted = depot.read(apart)
    assert (judged.recorded.verdict, accepted.state) == (said, AttemptState.DELIVERED)
    manifest = depot.manifest(accepted)
    assert manifest.accepted is not None
    assert (manifest.accepted.by, manifest.accepted.why) == ("mira", "a night")
    assert circle(depot.ledger, depot.store, apart, said, scratch=depot.scratch) == judged, "sent twice"
