"""The fault proof's judge, on books and ledgers that are wrong on purpose: a judge that finds nothing must be able to find something."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proof.faults.evidence import Findings
from proof.faults.judge import StormJudgement, judge
from proof.jobs import JobRecord
from proof.stand_in.books import StandInBooks

NOW = 10_000.0
PRICE = 400_000


def digest(job: JobRecord) -> str:
    return hashlib.sha256(job.id.encode()).hexdigest()


def a_job(name: str = "job-1", clip: str | None = "pier", **changes: Any) -> JobRecord:
    job = JobRecord(
        id=name,
        provider="wavespeed",
        model="sora",
        clip=clip,
        tag="post-1",
        price=PRICE,
        at=1_000.0,
        ends_at=1_060.0,
        end="succeeded",
        listed_at=1_001.0,
        refund_at=1_100.0,
    )
    return replace(job, **changes)


def an_attempt(**changes: Any) -> dict[str, Any]:
    return {
        "id": "attempt-1",
        "seq": 1,
        "subject_key": "pier",
        "subject_kind": "clip",
        "slot": 1,
        "decision": "monday",
        "provider": "wavespeed",
        "endpoint": "sora",
        "state": "delivered",
        "reason": None,
        "money_state": "confirmed",
        "quoted_micros": PRICE,
        "charged_micros": PRICE,
        "job_id": "job-1",
        "delivery": {"uri": "s3://bucket/videos/pier/attempt-1.mp4"},
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


def booked(job_id: str, attempt_id: str | None) -> dict[str, Any]:
    return {"account": "wavespeed", "job_id": job_id, "attempt_id": attempt_id, "source": "answer"}


def entry(findings: Findings, attempt_id: str, to_state: str, at: float) -> None:
    seq = len(findings.journal) + 1
    findings.journal.append({"seq": seq, "attempt_id": attempt_id, "to_state": to_state, "at": at})


@pytest.fixture
def sound(tmp_path: Path) -> Findings:
    """One clip, one job, delivered and paid."""
    file = tmp_path / "videos" / "pier" / "attempt-1.mp4"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"job-1")
    findings = Findings(
        StandInBooks(jobs={"job-1": a_job()}),
        {"pier"},
        {"attempt-1": an_attempt()},
        {"post-1": a_post()},
        [booked("job-1", "attempt-1")],
        [],
        {"wavespeed": [float(n) for n in range(30)]},
        tmp_path,
        now=NOW,
    )
    entry(findings, "attempt-1", "queued", 999.0)
    entry(findings, "attempt-1", "delivered", 1_070.0)
    return findings


def judged(findings: Findings) -> StormJudgement:
    return judge(findings, digest)


def kinds(verdict: StormJudgement) -> set[str]:
    return {problem.partition(":")[0] for problem in verdict.problems}


def lose(findings: Findings, **changes: Any) -> None:
    """Lose the answer to the only POST."""
    lost = {"state": "held", "job_id": None, "money_state": "indeterminate", "charged_micros": None}
    findings.attempts["attempt-1"] = an_attempt(**(lost | changes))
    findings.submissions["post-1"] = a_post(state="unknown", detail=None)
    findings.booked.clear()
    findings.journal.clear()
    for state, at in (("queued", 999.0), ("unknown", 1_001.0), ("held", 2_000.0)):
        entry(findings, "attempt-1", state, at)


def a_later_job_of_ours(findings: Findings) -> None:
    findings.books.jobs["job-2"] = a_job("job-2", "quay", tag="post-2", at=1_500.0, ends_at=1_560.0)
    findings.clips.add("quay")
    findings.attempts["attempt-2"] = an_attempt(
        id="attempt-2",
        subject_key="quay",
        job_id="job-2",
        delivery={"uri": "s3://bucket/videos/quay/attempt-2.mp4"},
    )
    findings.submissions["post-2"] = a_post(
        id="post-2", attempt_id="attempt-2", detail="job-2", started_at=1_500.0
    )
    findings.booked.append(booked("job-2", "attempt-2"))
    entry(findings, "attempt-2", "queued", 1_499.0)
    entry(findings, "attempt-2", "delivered", 1_570.0)
    file = findings.bucket / "videos" / "quay" / "attempt-2.mp4"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"job-2")


def test_a_sound_round_has_no_problems(sound: Findings) -> None:
    verdict = judged(sound)
    assert verdict.problems == []
    assert verdict.spent_micros == PRICE
    assert verdict.ends == {"delivered": 1}


def test_a_second_job_for_a_clip_is_a_duplicate(sound: Findings) -> None:
    sound.books.jobs["job-2"] = a_job("job-2", at=2_000.0, ends_at=2_060.0)
    assert "duplicate" in kinds(judged(sound))


def another_purchase(findings: Findings, job: JobRecord, **changes: Any) -> None:
    """The same decision had bought the clip before."""
    findings.books.jobs[job.id] = job
    findings.attempts["attempt-0"] = an_attempt(
        **(
            {"id": "attempt-0", "seq": 0, "state": "failed", "job_id": job.id, "money_state": "refunded"}
            | changes
        )
    )
    findings.submissions["post-0"] = a_post(id="post-0", attempt_id="attempt-0", detail=job.id)
    findings.booked.append(booked(job.id, "attempt-0"))
    entry(findings, "attempt-0", "failed", job.ends_at)


def test_a_job_bought_after_a_temporary_failure_is_no_duplicate(sound: Findings) -> None:
    failed = a_job("job-0", tag="post-0", at=500.0, ends_at=560.0, end="failed", refund_at=600.0)
    another_purchase(sound, failed)
    assert judged(sound).problems == []


def test_a_job_bought_after_one_that_was_refused_by_moderation_is_a_duplicate(sound: Findings) -> None:
    moderated = a_job("job-0", tag="post-0", at=500.0, ends_at=560.0, end="moderated", refund_at=600.0)
    another_purchase(sound, moderated)
    assert kinds(judged(sound)) == {"duplicate"}


def test_two_jobs_at_the_same_time_are_a_duplicate_even_if_one_fails(sound: Findings) -> None:
    failed = a_job("job-0", tag="post-0", at=990.0, ends_at=1_050.0, end="failed", refund_at=1_100.0)
    another_purchase(sound, failed)
    assert kinds(judged(sound)) == {"duplicate"}


def test_a_job_of_another_decision_beside_an_open_purchase_is_a_duplicate(sound: Findings) -> None:
    before = a_job("job-0", tag="post-0", at=500.0, ends_at=560.0)
    another_purchase(sound, before, decision="tuesday", state="delivered", money_state="confirmed")
    assert "duplicate" in kinds(judged(sound))


def test_a_post_that_was_not_committed_is_unaccounted(sound: Findings) -> None:
    sound.books.jobs["job-2"] = a_job("job-2", tag="nobody-knows")
    assert kinds(judged(sound)) == {"unaccounted"}


def test_a_paid_video_that_is_stored_nowhere_is_lost(sound: Findings) -> None:
    sound.attempts["attempt-1"] = an_attempt(state="failed", money_state="released")
    assert {"lost", "unaccounted"} <= kinds(judged(sound))


def test_a_delivered_file_that_is_missing_is_lost(sound: Findings) -> None:
    (sound.bucket / "videos/pier/attempt-1.mp4").unlink()
    assert kinds(judged(sound)) == {"lost"}


def test_a_missing_or_different_file_is_noticed(sound: Findings) -> None:
    (sound.bucket / "videos/pier/attempt-1.mp4").write_bytes(b"half of it")
    assert "wrong" in kinds(judged(sound))


def test_a_strangers_job_in_our_clip_is_wrong(sound: Findings) -> None:
    sound.books.jobs["job-1"] = a_job(clip=None)
    assert {"stranger", "wrong"} <= kinds(judged(sound))


@pytest.mark.parametrize(
    "changes",
    [{"charged_micros": PRICE - 1}, {"money_state": "released"}, {"job_id": None, "money_state": "released"}],
)
def test_every_difference_in_money_is_unaccounted(sound: Findings, changes: dict[str, Any]) -> None:
    sound.attempts["attempt-1"] = an_attempt(**changes)
    verdict = judged(sound)
    assert "unaccounted" in kinds(verdict)
    assert verdict.unaccounted_micros > 0


def test_money_for_a_job_that_does_not_exist_is_unaccounted(sound: Findings) -> None:
    sound.books.jobs.clear()
    assert judged(sound).unaccounted_micros == PRICE


@pytest.mark.parametrize("state", ["queued", "unknown", "submitted", "succeeded"])
def test_an_open_clip_has_not_ended(sound: Findings, state: str) -> None:
    sound.attempts["attempt-1"] = an_attempt(state=state)
    assert "unended" in kinds(judged(sound))


def test_a_clip_that_was_never_ordered_has_not_ended(sound: Findings) -> None:
    sound.clips.add("quay")
    assert "unended" in kinds(judged(sound))


# held purchases, with and without need


def test_held_money_for_a_charged_job_is_accounted_for(sound: Findings) -> None:
    lose(sound)
    assert {"unaccounted", "lost"} & kinds(judged(sound)) == set()


def test_a_job_that_can_belong_to_no_other_must_not_be_held(sound: Findings) -> None:
    lose(sound)
    assert kinds(judged(sound)) == {"held"}


@pytest.mark.parametrize(("model", "needlessly"), [("sora", False), ("kling", True)])
def test_a_stranger_who_buys_the_same_model_makes_it_ambiguous(
    sound: Findings, model: str, needlessly: bool
) -> None:
    lose(sound)
    sound.books.jobs["theirs"] = a_job("theirs", None, tag=None, model=model, at=1_010.0)
    assert ("held" in kinds(judged(sound))) is needlessly


def test_a_post_without_a_job_must_not_be_held_once_a_later_one_is_listed(sound: Findings) -> None:
    lose(sound)
    sound.books.jobs.clear()
    assert judged(sound).held == {"pier": "nothing of ours was accepted later"}
    a_later_job_of_ours(sound)
    assert kinds(judged(sound)) == {"held"}
    sound.lags["wavespeed"] = [1.0]
    assert judged(sound).held == {"pier": "too few jobs were seen to appear in the list"}


def test_aimlapi_names_every_post_so_a_stranger_makes_nothing_ambiguous(sound: Findings) -> None:
    lose(sound, provider="aimlapi")
    aimlapi: dict[str, Any] = {"provider": "aimlapi", "refund_at": None, "lists_running": False}
    sound.books.jobs["job-1"] = a_job(named="post-1", **aimlapi)
    sound.books.jobs["theirs"] = a_job("theirs", None, tag=None, at=1_010.0, **aimlapi)
    assert kinds(judged(sound)) == {"held"}


def test_a_job_that_ran_on_unseen_after_its_absence_was_proved_is_a_declared_window(sound: Findings) -> None:
    """A listing of ended jobs shows a stuck one only after the endpoint's longest time; its clip was bought again meanwhile."""
    stuck = a_job("job-0", tag="post-0", at=100.0, ends_at=1_900.0, refund_at=None, lists_running=False)
    another_purchase(sound, stuck, state="absent", money_state="released", charged_micros=None, job_id=None)
    spare = {
        "subject_kind": "spare",
        "subject_key": "pier~job-0",
        "money_state": "confirmed",
        "state": "delivered",
    }
    sound.attempts["spare"] = an_attempt(id="spare", job_id="job-0", **spare)
    (sound.bucket / "videos/pier/attempt-1.mp4").write_bytes(b"job-1")
    findings = replace(sound, max_seconds=600.0)
    assert "duplicate" in kinds(judged(sound))
    assert "duplicate" not in kinds(judged(findings))
    assert judged(findings).outlasted == ["job-0"]


def shown(job: JobRecord, seed: int | None) -> JobRecord:
    return replace(
        job, provider="fal", shown=f'{{"prompt": "[pier]", "seed": {"null" if seed is None else seed}}}'
    )


@pytest.mark.parametrize(
    ("seed", "theirs", "why"),
    [
        (5, 6, None),
        (5, 5, "another job has the same request"),
        (None, 6, "others may use the key, and its request has no seed"),
    ],
)
def test_where_the_list_shows_requests_a_seed_distinguishes_a_job_from_a_strangers(
    sound: Findings, seed: int | None, theirs: int, why: str | None
) -> None:
    lose(sound, provider="fal")
    sound.dedicated = False
    sound.books.jobs["job-1"] = shown(a_job(), seed)
    sound.books.jobs["theirs"] = shown(a_job("theirs", None, tag=None, at=1_010.0), theirs)
    verdict = judged(sound)
    assert verdict.held == {"pier": why or "nothing"}
    assert ("held" in kinds(verdict)) is (why is None)


def test_without_a_bill_nothing_is_absent(sound: Findings) -> None:
    lose(sound, provider="replicate")
    sound.books.jobs.clear()
    assert judged(sound).held == {"pier": "the provider has no bill"}


def test_a_refusal_that_may_be_charged_is_counted_or_not(sound: Findings) -> None:
    for may_be_charged in (True, False):
        sound.books.jobs["job-1"] = a_job(end="moderated", refund_at=None, may_be_charged=may_be_charged)
        sound.attempts["attempt-1"] = an_attempt(state="failed", money_state="confirmed")
        assert ("unaccounted" in kinds(judged(sound))) is not may_be_charged


def test_on_a_shared_key_a_lost_post_is_rightly_held(sound: Findings) -> None:
    lose(sound)
    sound.dedicated = False
    assert judged(sound).held == {"pier": "others may use the key"}
    assert judged(sound).problems == []


def test_an_ambiguous_settlement_is_reported(sound: Findings) -> None:
    entry(sound, "attempt-1", "unknown", 1_001.0)
    sound.booked[0]["source"] = "list"
    sound.books.jobs["theirs"] = a_job("theirs", None, tag=None, at=1_010.0)
    verdict = judged(sound)
    assert verdict.problems == []
    assert len(verdict.settled_in_doubt) == 1


def another_lost_submit(findings: Findings, *, started_at: float, with_job: bool) -> None:
    """A second POST of the model, whose answer was lost too."""
    findings.clips.add("quay")
    findings.attempts["attempt-2"] = an_attempt(
        id="attempt-2", seq=2, subject_key="quay", state="held", job_id=None
    )
    findings.submissions["post-2"] = a_post(
        id="post-2",
        attempt_id="attempt-2",
        state="unknown",
        detail=None,
        started_at=started_at,
        ended_at=started_at + 1,
        lease_until=started_at + 90,
    )
    for state in ("queued", "unknown", "held"):
        entry(findings, "attempt-2", state, started_at)
    if with_job:
        findings.books.jobs["job-2"] = a_job("job-2", "quay", tag="post-2", at=started_at + 0.5)


def why(findings: Findings, clip: str) -> str:
    return judged(findings).held[clip]


def test_one_job_of_two_lost_posts_may_belong_to_either(sound: Findings) -> None:
    lose(sound)
    another_lost_submit(sound, started_at=1_002.0, with_job=False)
    assert why(sound, "pier") == "another lost submit may have made it"
    assert why(sound, "quay") == "the job may be another lost submit's"


def test_two_jobs_of_two_lost_posts_are_matched_if_one_job_fits_only_one_post(
    sound: Findings,
) -> None:
    lose(sound)
    another_lost_submit(sound, started_at=1_020.0, with_job=True)
    assert why(sound, "pier") == "nothing"
    assert why(sound, "quay") == "nothing"


def test_two_jobs_of_two_simultaneous_lost_posts_cannot_be_matched(sound: Findings) -> None:
    lose(sound)
    another_lost_submit(sound, started_at=1_001.0, with_job=True)
    assert why(sound, "pier") == "another lost submit may have made it"


@pytest.mark.parametrize(
    ("late", "reason"), [(False, "nothing"), (True, "a job took long to appear in the list")]
)
def test_a_list_that_lagged_proves_no_absence(sound: Findings, late: bool, reason: str) -> None:
    lose(sound)
    sound.books.jobs.clear()
    a_later_job_of_ours(sound)
    if late:
        sound.books.jobs["job-2"] = replace(sound.books.jobs["job-2"], listed_at=1_550.0)
    assert why(sound, "pier") == reason


def test_a_client_that_could_not_compare_the_clocks_cannot_match_them(sound: Findings) -> None:
    lose(sound)
    another_lost_submit(sound, started_at=1_020.0, with_job=True)
    assert why(sound, "pier") == why(sound, "quay") == "nothing"
    for name in ("clock_low", "clock_high"):
        sound.submissions["post-2"][name] = None
    assert why(sound, "pier") == why(sound, "quay") == "another lost submit may have made it"
