"""The mark of a ledger in its bucket: when it is read and advanced, and the effect of an outage."""

import asyncio
import time
from typing import Any, cast

import pytest
from fakes import World, a_request
from losskit import QUICK, S, enqueue

from resources.errors import UnavailableError
from resources.ledger.decisions import Decision, decide
from resources.ledger.lost import search_schedule
from resources.ledger.recovery.mark import Mark, knows, mark_of, newest_seq, renew_id
from resources.ledger.states import AttemptState
from resources.production import bucket_mark
from resources.production.bucket_mark import BucketMark, MarkKeeper
from resources.storage.s3_client import S3Settings


class Bucket:
    """An object store in memory that counts requests, and can be down."""

    def __init__(self, name: str = "bucket") -> None:
        self.settings = S3Settings(bucket=name, access_key_id="k" * 5, secret_access_key="s" * 8)
        self.name, self.objects = name, dict[str, bytes]()
        self.down = False
        self.reads = self.writes = 0

    def uri(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def get_bytes(self, key: str) -> bytes | None:
        self.reads += 1
        self._up()
        return self.objects.get(key)

    def put_bytes(self, key: str, data: bytes, *, content_type: str, overwrite: bool = False) -> None:
        self.writes += 1
        self._up()
        self.objects[key] = data

    def _up(self) -> None:
        if self.down:
            raise UnavailableError("the bucket does not answer")

    @property
    def mark(self) -> Mark:
        return Mark.model_validate_json(self.objects["ledger.json"])


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    made = Bucket()
    monkeypatch.setattr(bucket_mark, "ObjectStore", lambda settings: made)
    return made


@pytest.fixture
def mark(world: World, bucket: Bucket) -> BucketMark:
    made = BucketMark(world.ledger, cast("Any", bucket))
    made.bind(buying=True)
    return made


def wants(world: World, *clips: str) -> None:
    decide(world.ledger, [a_request(clip) for clip in clips], Decision("monday"))


def test_a_process_reads_the_mark_again_only_after_a_while(
    mark: BucketMark, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = bucket.reads
    assert [mark.refusal() for _ in range(10)] == [None] * 10
    assert bucket.reads == reads
    monkeypatch.setattr(bucket_mark, "CHECK_SECONDS", -1.0)
    assert mark.refusal() is None
    assert bucket.reads == reads + 1


def test_a_bucket_that_does_not_answer_is_a_reason_not_to_buy(
    world: World, bucket: Bucket, mark: BucketMark
) -> None:
    another = BucketMark(world.ledger, cast("Any", bucket))
    bucket.down = True
    assert str(another.refusal()) == "the bucket does not answer"
    bucket.down = False
    assert another.refusal() is None


def test_an_unchanged_mark_is_not_written_again(world: World, mark: BucketMark, bucket: Bucket) -> None:
    writes = bucket.writes
    mark.advance()
    assert bucket.writes == writes
    wants(world, "clip-a")
    mark.advance()
    mark.advance()
    assert bucket.writes == writes + 1
    assert bucket.mark.seq == newest_seq(world.ledger)


def test_a_ledger_that_is_behind_does_not_write_its_mark(
    world: World, mark: BucketMark, bucket: Bucket
) -> None:
    ahead = mark_of(world.ledger).model_copy(update={"seq": 100, "entry": "another:7:1.000000", "at": 1.0})
    bucket.objects["ledger.json"] = kept = ahead.model_dump_json().encode()
    wants(world, "clip-a")
    with pytest.raises(bucket_mark.LedgerBehindError, match="1970-01-01"):
        mark.advance()
    assert bucket.objects["ledger.json"] == kept


def test_a_mark_with_another_entry_or_number_is_not_recognised(world: World) -> None:
    wants(world, "clip-a", "clip-b")
    true = mark_of(world.ledger)
    assert knows(world.ledger, true)
    assert not knows(world.ledger, true.model_copy(update={"entry": "another:1:1.000000"}))
    assert not knows(world.ledger, true.model_copy(update={"seq": true.seq - 1}))


def test_a_renewed_ledger_is_another_one_for_its_bucket(
    world: World, mark: BucketMark, bucket: Bucket
) -> None:
    before = world.ledger.id
    assert renew_id(world.ledger) == world.ledger.id != before
    assert "belongs to another ledger" in str(BucketMark(world.ledger, cast("Any", bucket)).refusal())


@pytest.mark.parametrize("at_once", [1, 30])
async def test_every_order_reaches_the_mark_however_close_together_they_are(
    world: World, mark: BucketMark, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(bucket_mark, "ADVANCE_SECONDS", 0.05)
    keeper = MarkKeeper(mark)
    writes, began_at = bucket.writes, time.monotonic()
    for number in range(at_once):
        wants(world, f"clip-{number:02}")
        keeper.progressed()
        await asyncio.sleep(0)
    for _ in range(10_000):
        if bucket.mark.seq == newest_seq(world.ledger):
            break
        await asyncio.sleep(0.01)
    assert bucket.mark.seq == newest_seq(world.ledger)
    assert bucket.writes - writes <= (time.monotonic() - began_at) / 0.05 + 2
    await keeper.aclose()


async def test_at_the_end_the_mark_equals_the_ledgers_journal(
    world: World, mark: BucketMark, bucket: Bucket
) -> None:
    keeper = MarkKeeper(mark)
    wants(world, "clip-a")
    keeper.progressed()
    await keeper.aclose()
    assert bucket.mark.seq == newest_seq(world.ledger)


async def test_an_outage_of_the_bucket_does_not_end_the_engine(
    world: World, mark: BucketMark, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = MarkKeeper(mark)
    bucket.down = True
    wants(world, "clip-a")
    keeper.progressed()
    await keeper.aclose()
    assert "was not advanced" in caplog.text


def test_an_engine_that_may_not_buy_leaves_its_queue_and_gives_the_reason(
    world: World, mark: BucketMark, bucket: Bucket
) -> None:
    wants(world, "clip-a")
    engine = world.engine()
    ahead = mark_of(world.ledger).model_copy(update={"seq": 100, "entry": "another:7:1.000000"})
    bucket.objects["ledger.json"] = ahead.model_dump_json().encode()
    engine.submitter._mark = MarkKeeper(BucketMark(world.ledger, cast("Any", bucket)))

    async def step() -> None:
        result = await engine.step("wavespeed")
        assert result.refused is not None
        assert "dailies ledger rebuild" in result.refused
        assert result.queued == 1

    asyncio.run(step())
    assert world.provider.posts == []
    assert world.newest("clip-a").state is AttemptState.QUEUED


@pytest.mark.slow
@pytest.mark.parametrize("is_behind", [True, False])
def test_an_engine_whose_ledger_is_older_than_its_bucket_settles_no_lost_answer(
    world: World, mark: BucketMark, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, is_behind: bool
) -> None:
    """The listed job may belong to a POST that the ledger has forgotten."""
    monkeypatch.setattr(bucket_mark, "CHECK_SECONDS", -1.0)
    world.provider.answers["clip-a"] = [QUICK]
    enqueue(world, "clip-a")
    world.run(world.engine().step("wavespeed"))
    assert world.newest("clip-a").state is S.UNKNOWN
    if is_behind:
        ahead = mark_of(world.ledger).model_copy(update={"seq": 100, "entry": "another:7:1.000000"})
        bucket.objects["ledger.json"] = ahead.model_dump_json().encode()
    engine = world.engine()
    engine._reconciler._mark = MarkKeeper(mark)
    began_at = world.clock.now

    async def steps() -> None:
        while world.clock.now < began_at + 600 and world.newest("clip-a").state is S.UNKNOWN:
            await engine.step("wavespeed")
            world.clock.now += 10

    asyncio.run(steps())
    assert world.newest("clip-a").state is (S.UNKNOWN if is_behind else S.SUBMITTED)
    failure = search_schedule.failure_of(world.ledger, "wavespeed")
    assert (failure is not None and "dailies ledger rebuild" in failure.why) is is_behind
