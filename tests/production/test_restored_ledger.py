"""The drill: a ledger is lost, an old copy of it is restored, and nothing is bought twice."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from drillkit import Studio, a_request

from resources.errors import ConfigurationError
from resources.ledger import counters, keys, queue
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.lost.orphans import orphans
from resources.ledger.queue import PostTerms
from resources.ledger.records import Submission
from resources.ledger.recovery.mark import newest_seq
from resources.ledger.schema import submissions
from resources.ledger.states import AttemptState, MoneyState
from resources.orders import ClipRequest
from resources.production import batch, poll_times
from resources.production.batch import Stage
from resources.production.bucket_mark import BucketMark, LedgerBehindError, bind_bucket, read_mark
from resources.production.delivery import Deliverer
from resources.sandbox import FaultRule, RunningSandbox, SandboxSettings, running_sandbox
from resources.storage.layout import ledger_key, prompt_key
from resources.storage.objects import ObjectStore
from resources.video.facts import Inspection

pytestmark = pytest.mark.slow

SMALL = {"name": "small", "then": {"do": "wrong_size", "width": 64, "height": 64}}
CLIPS = ["clip-a", "clip-b", "clip-c", "clip-d"]


@pytest.fixture
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox(SandboxSettings(job_seconds=0)) as running:
        # the drill expects no size, and large clips only take longer to make
        running.app.state.workshop.faults.rules.append(FaultRule.model_validate(SMALL))
        yield running


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox's jobs end at once, so waiting for them gains nothing."""
    monkeypatch.setattr(poll_times, "SCOUT_SECONDS", 0.1)
    monkeypatch.setattr(batch, "LOOK_SECONDS", 0.2)


@pytest.fixture(scope="module")
def looks() -> list[Inspection]:
    """The facts of the first inspected clip; a worker for every other clip would take most of the tests' time."""
    return []


@pytest.fixture(autouse=True)
def _look_once(monkeypatch: pytest.MonkeyPatch, looks: list[Inspection]) -> None:
    look = Deliverer._inspect

    def inspect(deliverer: Deliverer, path: Path, request: ClipRequest) -> Inspection:
        if not looks:
            looks.append(look(deliverer, path, request))
        return looks[0]

    monkeypatch.setattr(Deliverer, "_inspect", inspect)


@pytest.fixture
def provider() -> str:
    return "wavespeed"


@pytest.fixture
def studio(sandbox: RunningSandbox, store: ObjectStore, tmp_path: Path, provider: str) -> Studio:
    return Studio(sandbox.url, store, tmp_path, provider)


def the_books_agree(ledger: Ledger) -> None:
    with ledger.read() as connection:
        counted = {s: n for s, n in counters.counted(connection).items() if n}
        assert counted == {s: n for s, n in counters.recounted(connection).items() if n}


@pytest.mark.postgresql
def test_a_ledger_restored_from_yesterdays_copy_buys_again_only_after_the_rebuild_and_nothing_twice(
    studio: Studio, ledger_url: str, copied: Callable[[str], str]
) -> None:
    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.produce(ledger, *CLIPS[:2])
    yesterday = copied(ledger_url)
    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.produce(ledger, *CLIPS[2:])
        whole = {a.subject_key: a for a in ledger.overview()}
    assert len(studio.orders()) == 4

    with Ledger(yesterday, budget=Budget()) as restored:
        for clips in (CLIPS, ["clip-new"]):
            with pytest.raises(LedgerBehindError, match="dailies ledger rebuild"):
                studio.produce(restored, *clips)
        assert len(studio.orders()) == 4

        found = studio.rebuild(restored)
        assert (found.manifests, found.adopted, found.may_buy) == (4, 2, True)
        assert found.orphans == {"wavespeed": []}
        the_books_agree(restored)

        decided, followed = studio.produce(restored, *CLIPS, decision="tuesday")
        assert {d.ruling for d in decided} == {Ruling.REUSED}
        assert followed.failed == {}
        assert len(studio.orders()) == 4
        now = {a.subject_key: a for a in restored.overview()}
        for clip in CLIPS:
            lost, back = whole[clip], now[clip]
            assert back.state is AttemptState.DELIVERED
            for name in (
                "id",
                "fingerprint",
                "job_id",
                "decision",
                "charged_micros",
                "money_state",
                "request",
            ):
                assert getattr(back, name) == getattr(lost, name), name
            assert (back.delivery or {}) == (lost.delivery or {})

        again = studio.rebuild(restored)
        assert (again.adopted, again.led_on, again.back, again.withdrawn) == (0, 0, 0, [])
        studio.produce(restored, "clip-new")
        assert len(studio.orders()) == 5

    with (
        Ledger(ledger_url, budget=Budget()) as stale,
        pytest.raises(ConfigurationError, match="belongs to another ledger"),
    ):
        studio.produce(stale, "clip-newer")
    assert len(studio.orders()) == 5


@pytest.mark.parametrize("provider", ["wavespeed", "aimlapi"])
def test_open_jobs_are_fetched_and_queued_purchases_are_not_sent_again(
    studio: Studio, ledger_url: str, copied: Callable[[str], str], provider: str
) -> None:
    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.produce(ledger, "clip-a")

        decide(ledger, [a_request("clip-b", provider), a_request("clip-q", provider)], Decision("monday"))
    yesterday = copied(ledger_url)
    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.produce(ledger, "clip-b", "clip-c", until=Stage.SUBMITTED)
    ordered = len(studio.orders())
    assert ordered == 4

    with Ledger(yesterday, budget=Budget()) as restored:
        refused = studio.step(restored)
        assert refused.refused is not None
        assert "dailies ledger rebuild" in refused.refused
        assert (refused.submitted, refused.queued) == ([], 2)
        found = studio.rebuild(restored)
        assert found.may_buy
        assert (found.led_on, found.back) == (2, 1), (
            "clip-b and clip-q were queued in the copy, clip-c is not in it"
        )
        the_books_agree(restored)
        studio.finish(restored)
        assert {a.subject_key: a.state for a in restored.overview()} == dict.fromkeys(
            ["clip-a", "clip-b", "clip-c", "clip-q"], AttemptState.DELIVERED
        )
        decided, _ = studio.produce(restored, "clip-a", "clip-b", "clip-c", "clip-q", decision="tuesday")
        assert {d.ruling for d in decided} == {Ruling.REUSED}
        assert len(studio.orders()) == ordered
        the_books_agree(restored)


def test_a_copys_unsent_queue_is_withdrawn(
    studio: Studio, ledger_url: str, copied: Callable[[str], str]
) -> None:

    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.produce(ledger, "clip-a")
        decide(ledger, [a_request("clip-q")], Decision("monday"))
    yesterday = copied(ledger_url)
    with Ledger(ledger_url, budget=Budget()) as ledger:
        queue.withdraw(ledger, [ledger.latest(["clip-q"])["clip-q"].id], why="no longer wanted")
        studio.produce(ledger, "clip-b")
    with Ledger(yesterday, budget=Budget()) as restored:
        assert studio.rebuild(restored).withdrawn == ["clip-q"]
        attempt = restored.latest(["clip-q"])["clip-q"]
        assert (attempt.state, attempt.money_state) == (AttemptState.WITHDRAWN, MoneyState.RELEASED)
        the_books_agree(restored)


def test_an_emptied_ledger_is_refused_and_takes_over_only_by_command(
    studio: Studio, new_ledger_url: Callable[[], str]
) -> None:
    with Ledger(new_ledger_url(), budget=Budget()) as lost:
        studio.produce(lost, *CLIPS)
        studio.produce(lost, "clip-way", until=Stage.SUBMITTED)
    with Ledger(new_ledger_url(), budget=Budget()) as emptied:
        with pytest.raises(ConfigurationError, match="belongs to another ledger"):
            studio.produce(emptied, *CLIPS)
        with pytest.raises(ConfigurationError, match="--take-over"):
            studio.rebuild(emptied)
        assert emptied.overview() == []
        found = studio.rebuild(emptied, take_over=True)
        assert (found.adopted, found.back, found.orphans) == (4, 1, {"wavespeed": []})
        studio.finish(emptied)
        decided, _ = studio.produce(emptied, *CLIPS, "clip-way")
        assert {d.ruling for d in decided} == {Ruling.REUSED}
        the_books_agree(emptied)
    assert len(studio.orders()) == 5


@pytest.mark.postgresql
def test_unowned_jobs_are_recorded_and_not_assigned(
    studio: Studio, sandbox: RunningSandbox, ledger_url: str
) -> None:
    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.produce(ledger, "clip-a")
        headers = {"Authorization": "Bearer sandbox"}
        answer = httpx.post(
            f"{sandbox.url}/api/v3/openai/sora-2/text-to-video",
            json={"prompt": "a stranger's", "size": "1280*720", "duration": 4},
            headers=headers,
        )
        stranger = answer.json()["data"]["id"]
        found = studio.rebuild(ledger)
        assert stranger in found.orphans["wavespeed"]
        assert stranger in {orphan.job_id for orphan in orphans(ledger)}
        assert studio.rebuild(ledger).orphans == {"wavespeed": []}
        assert [a.subject_key for a in ledger.overview()] == ["clip-a"]


@pytest.mark.postgresql
@pytest.mark.parametrize("said", ["before the rebuild", "before the copy"])
def test_a_lost_post_gets_no_job_by_elimination_after_a_rebuild(
    studio: Studio,
    sandbox: RunningSandbox,
    store: ObjectStore,
    new_ledger_url: Callable[[], str],
    copied: Callable[[str], str],
    said: str,
) -> None:
    """The job may come from a POST that the ledger has lost, whatever is declared about the key."""
    lost_url = new_ledger_url()
    with Ledger(lost_url, budget=Budget()) as lost:
        bind_bucket(lost, store, buying=True)
        if said == "before the copy":
            keys.declare(lost, "wavespeed", dedicated=True)
        decide(lost, [a_request("clip-a")], Decision("monday"))
        assert isinstance(queue.claim_next(lost, "wavespeed", PostTerms(Limits(), 30)), Submission)
        BucketMark(lost, store).advance()
    answer = httpx.post(
        f"{sandbox.url}/api/v3/openai/sora-2/text-to-video",
        json={"prompt": "of a POST after the mark", "size": "1280*720", "duration": 4},
        headers={"Authorization": "Bearer sandbox"},
    )
    assert answer.status_code == 200
    url = copied(lost_url) if said == "before the copy" else new_ledger_url()
    with Ledger(url, budget=Budget()) as ledger:
        keys.declare(ledger, "wavespeed", dedicated=True)
        with ledger.write() as connection:
            # its poster is dead
            connection.execute(sa.update(submissions).values(lease_until=ledger.clock() - 1))
        studio.rebuild(ledger, take_over=True)
        with ledger.write() as connection:
            connection.execute(sa.update(submissions).values(lease_until=ledger.clock() - 1))
        for _ in range(2):
            studio.step(ledger)
        attempt = ledger.latest(["clip-a"])["clip-a"]
        assert (attempt.state, attempt.job_id) == (AttemptState.UNKNOWN, None)


def test_a_rebuild_without_the_prompts_still_fetches_paid_clips(
    studio: Studio, new_ledger_url: Callable[[], str]
) -> None:
    with Ledger(new_ledger_url(), budget=Budget()) as lost:
        studio.produce(lost, "clip-a")
        studio.produce(lost, "clip-b", until=Stage.SUBMITTED)
        prompts = [prompt_key(a.subject_key, a.fingerprint) for a in lost.overview()]
    for key in prompts:
        studio.store._client.delete_object(Bucket=studio.store.bucket, Key=key)
    with Ledger(new_ledger_url(), budget=Budget()) as emptied:
        found = studio.rebuild(emptied, take_over=True)
        assert (found.adopted, found.back) == (1, 1)
        assert any("clip-b" in problem for problem in found.problems)
        studio.finish(emptied)
        decided, _ = studio.produce(emptied, "clip-a", "clip-b")
        assert {d.ruling for d in decided} == {Ruling.REUSED}
    assert len(studio.orders()) == 2


# The mark


def test_a_copy_that_continues_its_journal_is_recognised_however_long_the_journal_is(
    studio: Studio, ledger_url: str, copied: Callable[[str], str]
) -> None:

    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.produce(ledger, "clip-a")
    copy = copied(ledger_url)
    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.produce(ledger, "clip-b")
    mark = read_mark(studio.store)
    assert mark is not None
    with Ledger(copy, budget=Budget()) as restored:
        for number in range(40):
            decide(restored, [a_request(f"clip-{number:02}")], Decision("tuesday"))
        assert newest_seq(restored) > mark.seq
        assert BucketMark(restored, studio.store).refusal() is not None
        bind_bucket(restored, studio.store, buying=False)


def test_the_mark_follows_the_orders_and_names_open_purchases(studio: Studio, ledger_url: str) -> None:
    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.produce(ledger, "clip-a", "clip-b", until=Stage.SUBMITTED)
        mark = read_mark(studio.store)
        assert mark is not None
        assert mark.seq == newest_seq(ledger)
        assert {o.clip: o.job for o in mark.on_their_way} == {
            a.subject_key: a.job_id for a in ledger.overview()
        }
        studio.finish(ledger)
        studio.produce(ledger, "clip-c")
        mark = read_mark(studio.store)
        assert mark is not None
        assert mark.on_their_way == ()


def test_a_bucket_that_lost_its_mark_is_no_reason_to_buy(studio: Studio, ledger_url: str) -> None:
    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.produce(ledger, "clip-a")
        studio.store._client.delete_object(Bucket=studio.store.bucket, Key=ledger_key())
        with pytest.raises(ConfigurationError, match="no longer holds this ledger's mark"):
            studio.produce(ledger, "clip-b")
    assert len(studio.orders()) == 1


def test_an_unreadable_mark_refuses_purchases(studio: Studio, ledger_url: str) -> None:
    studio.store.put_bytes(ledger_key(), b"not json", content_type="application/json", overwrite=True)
    with (
        Ledger(ledger_url, budget=Budget()) as ledger,
        pytest.raises(ConfigurationError, match="another ledger"),
    ):
        studio.produce(ledger, "clip-a")
    assert studio.orders() == []


def test_a_rebuild_adds_its_steps_to_the_append_only_journal(
    studio: Studio, ledger_url: str, copied: Callable[[str], str]
) -> None:
    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.produce(ledger, "clip-a", until=Stage.SUBMITTED)
    copy = copied(ledger_url)
    with Ledger(ledger_url, budget=Budget()) as ledger:
        studio.finish(ledger)
        studio.produce(ledger, "clip-b")
    with Ledger(copy, budget=Budget()) as restored:
        found = studio.rebuild(restored)
        assert (found.adopted, found.led_on) == (1, 1)
        attempt = restored.latest(["clip-a"])["clip-a"]
        states = [entry["to_state"] for entry in restored.history(attempt.id)]
        assert states == ["queued", "submitting", "submitted", "succeeded", "delivered"]
        with pytest.raises(sa.exc.DatabaseError, match="append-only"), restored.write() as connection:
            connection.execute(sa.text("DELETE FROM journal"))
