"""The fault bench's judge, on books and ledgers that are wrong on purpose: a judge that finds nothing must be able to."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proof.faults.evidence import Evidence
from proof.faults.judge import Verdict, judge
from proof.stand_in.books import Books, Job

NOW = 10_000.0
PRICE = 400_000


def digest(job: Job) -> str:
    return hashlib.sha256(job.id.encode()).hexdigest()


def a_job(name: str = "job-1", clip: str | None = "pier", **changes: Any) -> Job:
    job = Job(name, "wavespeed", "sora", clip, "post-1", None, PRICE, 1_000.0, 1_060.0, 1_001.0, "done", None)
    return replace(job, **changes)


def an_attempt(**changes: Any) -> dict[str, Any]:
    return {
        "id": "attempt-1",
        "seq": 1,
        "subject_key": "pier",
        "provider": "wavespeed",
        "endpoint": "sora",
        "state": "delivered",
        "reason": None,
        "money_state": "confirmed",
        "quoted_micros": PRICE,
        "charged_micros": PRICE,
        "job_id": "job-1",
        "delivery": {"key": "videos/pier/attempt-1.mp4"},
    } | changes


def a_post(**changes: Any) -> dict[str, Any]:
    return {
        "id": "post-1",
        "attempt_id": "attempt-1",
        "state": "accepted",
        "owner": "host:17:ab",
        "started_at": 1_000.0,
        "ended_at": 1_001.0,
        "lease_until": 1_090.0,
        "clock_low": -0.5,
        "clock_high": 0.5,
        "detail": "job-1",
    } | changes


@pytest.fixture
def sound(tmp_path: Path) -> Evidence:
    """One clip, one job, delivered and paid."""
    file = tmp_path / "videos" / "pier" / "attempt-1.mp4"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"job-1")
    return Evidence(
        Books(jobs={"job-1": a_job()}),
        {"pier"},
        {"attempt-1": an_attempt()},
        {"post-1": a_post()},
        {("wavespeed", "job-1"): "attempt-1"},
        {"job-1"},
        {"wavespeed": [float(n) for n in range(30)]},
        {},
        set(),
        tmp_path,
        now=NOW,
    )


def judged(evidence: Evidence) -> Verdict:
    return judge(evidence, digest)


def kinds(verdict: Verdict) -> set[str]:
    return {problem.partition(":")[0] for problem in verdict.problems}


def lose(evidence: Evidence, **changes: Any) -> None:
    """The only POST's answer was lost."""
    lost = {"state": "held", "job_id": None, "money_state": "indeterminate", "charged_micros": None}
    evidence.attempts["attempt-1"] = an_attempt(**(lost | changes))
    evidence.submissions["post-1"] = a_post(state="unknown", detail=None)
    evidence.ever_unknown.add("attempt-1")
    evidence.held_at["attempt-1"] = 2_000.0
    evidence.owners.clear()
    evidence.answered.clear()


def a_later_job_of_ours(evidence: Evidence) -> None:
    evidence.books.jobs["job-2"] = a_job("job-2", "quay", tag="post-2", at=1_500.0, ends_at=1_560.0)
    evidence.clips.add("quay")
    evidence.attempts["attempt-2"] = an_attempt(
        id="attempt-2", subject_key="quay", job_id="job-2", delivery={"key": "videos/quay/attempt-2.mp4"}
    )
    evidence.submissions["post-2"] = a_post(id="post-2", attempt_id="attempt-2", started_at=1_500.0)
    evidence.owners["wavespeed", "job-2"] = "attempt-2"
    evidence.answered.add("job-2")
    file = evidence.bucket / "videos" / "quay" / "attempt-2.mp4"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"job-2")


def test_a_sound_round_has_no_problems(sound: Evidence) -> None:
    verdict = judged(sound)
    assert verdict.problems == []
    assert verdict.spent_micros == PRICE
    assert verdict.ends == {"delivered": 1}


def test_a_second_job_for_a_clip_is_a_duplicate(sound: Evidence) -> None:
    sound.books.jobs["job-2"] = a_job("job-2", at=2_000.0, ends_at=2_060.0)
    assert "duplicates" in kinds(judged(sound))


def test_a_job_bought_after_one_that_failed_is_none(sound: Evidence) -> None:
    sound.books.jobs["job-0"] = a_job("job-0", at=500.0, ends_at=560.0, fate="failed", refund_at=600.0)
    sound.attempts["attempt-0"] = an_attempt(
        id="attempt-0", seq=0, state="failed", job_id="job-0", money_state="refunded"
    )
    assert judged(sound).problems == []


def test_two_jobs_at_the_same_time_are_a_duplicate_even_if_one_fails(sound: Evidence) -> None:
    sound.books.jobs["job-0"] = a_job("job-0", at=990.0, ends_at=1_050.0, fate="failed", refund_at=1_100.0)
    assert "duplicates" in kinds(judged(sound))


def test_a_paid_video_that_is_nowhere_is_lost(sound: Evidence) -> None:
    sound.attempts["attempt-1"] = an_attempt(state="failed", money_state="released")
    assert {"lost", "unaccounted"} - kinds(judged(sound)) <= {"lost"}
    sound.owners.clear()
    assert {"lost", "unaccounted"} <= kinds(judged(sound))


def test_a_file_that_is_missing_or_another_is_seen(sound: Evidence) -> None:
    (sound.bucket / "videos/pier/attempt-1.mp4").write_bytes(b"half of it")
    assert "wrong" in kinds(judged(sound))


def test_a_strangers_job_in_our_clip_is_wrong(sound: Evidence) -> None:
    sound.books.jobs["job-1"] = a_job(clip=None)
    assert "wrong" in kinds(judged(sound))


@pytest.mark.parametrize(
    "changes",
    [{"charged_micros": PRICE - 1}, {"money_state": "released"}, {"job_id": None, "money_state": "released"}],
)
def test_every_difference_in_money_is_unaccounted(sound: Evidence, changes: dict[str, Any]) -> None:
    sound.attempts["attempt-1"] = an_attempt(**changes)
    verdict = judged(sound)
    assert "unaccounted" in kinds(verdict)
    assert verdict.unaccounted_micros > 0


def test_money_for_a_job_that_nobody_made_is_unaccounted(sound: Evidence) -> None:
    sound.books.jobs.clear()
    assert judged(sound).unaccounted_micros == PRICE


@pytest.mark.parametrize("state", ["queued", "unknown", "submitted", "succeeded"])
def test_a_clip_on_its_way_has_not_ended(sound: Evidence, state: str) -> None:
    sound.attempts["attempt-1"] = an_attempt(state=state)
    assert "unended" in kinds(judged(sound))


def test_a_clip_nobody_asked_for_has_not_ended(sound: Evidence) -> None:
    sound.clips.add("quay")
    assert "unended" in kinds(judged(sound))


# Held, and whether it had to be


def test_held_money_for_a_charged_job_is_accounted_for(sound: Evidence) -> None:
    lose(sound)
    assert judged(sound).unaccounted == []
    assert judged(sound).lost == []


def test_a_job_that_can_be_nobody_elses_must_not_be_held(sound: Evidence) -> None:
    lose(sound)
    assert kinds(judged(sound)) == {"held_needlessly"}


@pytest.mark.parametrize(("model", "needlessly"), [("sora", False), ("kling", True)])
def test_a_stranger_who_buys_the_same_model_makes_it_ambiguous(
    sound: Evidence, model: str, needlessly: bool
) -> None:
    lose(sound)
    sound.books.jobs["theirs"] = a_job("theirs", None, tag=None, model=model, at=1_010.0)
    assert ("held_needlessly" in kinds(judged(sound))) is needlessly


def test_a_submit_that_came_to_nothing_must_not_be_held_once_a_later_one_is_listed(sound: Evidence) -> None:
    lose(sound)
    sound.books.jobs.clear()
    assert judged(sound).held == {"pier": "nothing of ours was accepted later"}
    a_later_job_of_ours(sound)
    assert kinds(judged(sound)) == {"held_needlessly"}
    sound.lags["wavespeed"] = [1.0]
    assert judged(sound).held == {"pier": "too few jobs were seen to appear in the list"}


def test_aimlapi_names_every_post_so_a_stranger_makes_nothing_ambiguous(sound: Evidence) -> None:
    lose(sound, provider="aimlapi")
    sound.books.jobs["job-1"] = a_job(provider="aimlapi")
    sound.books.jobs["theirs"] = a_job("theirs", None, provider="aimlapi", tag=None, at=1_010.0)
    assert "held_needlessly" in kinds(judged(sound))


def test_what_was_settled_in_doubt_is_told(sound: Evidence) -> None:
    sound.ever_unknown.add("attempt-1")
    sound.answered.clear()
    sound.books.jobs["theirs"] = a_job("theirs", None, tag=None, at=1_010.0)
    verdict = judged(sound)
    assert verdict.problems == []
    assert len(verdict.settled_in_doubt) == 1


def another_lost_submit(evidence: Evidence, *, started_at: float, with_job: bool) -> None:
    """A second POST of the model whose answer was lost too."""
    evidence.clips.add("quay")
    evidence.attempts["attempt-2"] = an_attempt(
        id="attempt-2", seq=2, subject_key="quay", state="held", job_id=None
    )
    evidence.submissions["post-2"] = a_post(
        id="post-2",
        attempt_id="attempt-2",
        state="unknown",
        detail=None,
        started_at=started_at,
        ended_at=started_at + 1,
        lease_until=started_at + 90,
    )
    evidence.ever_unknown.add("attempt-2")
    if with_job:
        evidence.books.jobs["job-2"] = a_job("job-2", "quay", tag="post-2", at=started_at + 0.5)


def why(evidence: Evidence, clip: str) -> str:
    return judged(evidence).held[clip]


def test_one_job_of_two_lost_submits_may_be_eithers(sound: Evidence) -> None:
    lose(sound)
    another_lost_submit(sound, started_at=1_002.0, with_job=False)
    assert why(sound, "pier") == "another lost submit may have made it"
    assert why(sound, "quay") == "another lost submit's job may be its"


def test_two_jobs_of_two_lost_submits_are_told_apart_by_the_one_that_only_one_can_have_made(
    sound: Evidence,
) -> None:
    lose(sound)
    another_lost_submit(sound, started_at=1_020.0, with_job=True)
    assert why(sound, "pier") == "nothing"
    assert why(sound, "quay") == "nothing"


def test_two_jobs_of_two_lost_submits_at_the_same_time_are_not_told_apart(sound: Evidence) -> None:
    lose(sound)
    another_lost_submit(sound, started_at=1_001.0, with_job=True)
    assert why(sound, "pier") == "another lost submit may have made it"


@pytest.mark.parametrize(
    ("late", "reason"), [(False, "nothing"), (True, "a job took long to appear in the list")]
)
def test_a_list_that_lagged_proves_no_absence(sound: Evidence, late: bool, reason: str) -> None:
    lose(sound)
    sound.books.jobs.clear()
    a_later_job_of_ours(sound)
    if late:
        sound.books.jobs["job-2"] = replace(sound.books.jobs["job-2"], listed_at=1_550.0)
    assert why(sound, "pier") == reason


def test_a_client_that_could_not_compare_the_clocks_may_not_tell_them_apart(sound: Evidence) -> None:
    lose(sound)
    another_lost_submit(sound, started_at=1_020.0, with_job=True)
    assert why(sound, "pier") == why(sound, "quay") == "nothing"
    for name in ("clock_low", "clock_high"):
        sound.submissions["post-2"][name] = None
    assert why(sound, "pier") == why(sound, "quay") == "another lost submit may have made it"
