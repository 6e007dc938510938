"""The bucket is tried before the first purchase and once a day, and the ledger stores the result."""

from collections.abc import Iterator
from pathlib import Path

import odd_s3
import pytest
from odd_s3 import Request, lacks

from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.production.bucket_mark import TRIAL_FACT, TRIAL_SECONDS, bind_bucket
from resources.storage import ways
from resources.storage.layout import TRIALS
from resources.storage.objects import ObjectStore
from resources.storage.trial import UnfitBucketError
from resources.storage.ways import Ways

NOW = 1_800_000_000.0


class Day:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def day() -> Day:
    return Day()


@pytest.fixture
def ledger(tmp_path: Path, day: Day) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget(), clock=day) as opened:
        yield opened


def trials(server: odd_s3.OddS3) -> int:
    """Number of trials so far."""
    return len({asked.path for asked in server.seen if asked.is_put and asked.path.endswith("-file.mp4")})


@pytest.mark.slow
def test_a_bucket_is_tried_before_the_first_purchase_and_once_a_day(ledger: Ledger, day: Day) -> None:
    with odd_s3.odd_s3(odd_s3.NO_CONDITIONS) as server:
        store = ObjectStore(server.settings)
        bind_bucket(ledger, store, buying=False)
        assert trials(server) == 0, "without a purchase there is no trial"
        for at, tried in [
            (0, 1),
            (60, 1),
            (TRIAL_SECONDS - 1, 1),
            (TRIAL_SECONDS + 1, 2),
            (TRIAL_SECONDS + 2, 2),
        ]:
            day.now = NOW + at
            bind_bucket(ledger, store, buying=True)
            assert trials(server) == tried
        day.now = NOW - 10 * TRIAL_SECONDS
        bind_bucket(ledger, store, buying=True)
        assert trials(server) == 3, "a clock that was ahead does not delay the trial"
        assert server.keys(TRIALS) == []


def test_every_process_uses_the_stored_result(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    with odd_s3.odd_s3(odd_s3.LOCKED) as server:
        bind_bucket(ledger, ObjectStore(server.settings), buying=True)
        monkeypatch.setattr(ways, "_known", {})  # another process
        store = ObjectStore(server.settings)
        assert store.ways == Ways()
        bind_bucket(ledger, store, buying=False)
        assert store.ways == Ways(stream=False)


@pytest.mark.parametrize("kept", ["", "{", '{"at": "x"}', "[]"])
def test_a_trial_that_cannot_be_read_is_made_again(ledger: Ledger, kept: str) -> None:
    ledger.remember(TRIAL_FACT, kept)
    with odd_s3.odd_s3(odd_s3.NOTHING) as server:
        bind_bucket(ledger, ObjectStore(server.settings), buying=True)
        assert trials(server) == 1


@pytest.mark.slow
def test_another_address_of_the_bucket_is_tried_by_itself(ledger: Ledger) -> None:
    with odd_s3.odd_s3(odd_s3.NO_CONDITIONS) as one, odd_s3.odd_s3(odd_s3.NOTHING) as other:
        bind_bucket(ledger, ObjectStore(one.settings), buying=True)
        other.objects.update(one.objects)
        store = ObjectStore(other.settings)
        bind_bucket(ledger, store, buying=True)
        assert (trials(other), store.ways) == (1, Ways())


@pytest.mark.slow
def test_a_bucket_that_cannot_take_a_clip_refuses_the_purchase_every_time(ledger: Ledger) -> None:
    def is_clip(asked: Request) -> bool:
        return asked.is_put and asked.path.endswith(".mp4")

    refusal = lacks(400, "InvalidRequest", "x-amz-server-side-encryption is required", is_clip)
    with odd_s3.odd_s3(refusal) as server:
        for _ in range(2):
            with pytest.raises(
                UnfitBucketError, match=r"server-side-encryption is required.*Nothing was bought"
            ):
                bind_bucket(ledger, ObjectStore(server.settings), buying=True)
        bind_bucket(ledger, ObjectStore(server.settings), buying=False)
        server.oddity = odd_s3.NOTHING
        bind_bucket(ledger, ObjectStore(server.settings), buying=True)
