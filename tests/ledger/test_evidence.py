"""What a listing proves: every judgement in its plainest form. Times are seconds on the provider's clock."""

import itertools
import random
from datetime import UTC, datetime
from typing import Any

import pytest

from resources.ledger.lost.evidence import Evidence, Judgement, Lack, Post, Proof, judge
from resources.providers.base import Candidate, JobStatus
from resources.providers.rows import SetAside

SORA, PRO, OTHER = "openai/sora-2/text-to-video", "openai/sora-2-pro/text-to-video", "bytedance/seedance"
BODY = {"prompt": "a hill", "duration": 4}
LATE = 10_000.0


def post(name: str, at: float, *, ended: float | None = None, **changes: Any) -> Post:
    """A POST sent at a time: its job may be created until 31 seconds after its end; a miss counts after 120 seconds."""
    ended = at + 1 if ended is None else ended
    values: dict[str, Any] = {
        "submission_id": name,
        "models": frozenset({SORA}),
        "body": BODY,
        "in_question": True,
        "not_before": at - 1,
        "broke_off": ended,
        "created_by": ended + 31,
        "settled_from": at + 120,
        "give_up_from": at + 240,
        "shared": False,
    }
    return Post(**(values | changes))


def job(name: str, at: float, *, model: str | None = SORA, **changes: Any) -> Candidate:
    return Candidate(name, model, datetime.fromtimestamp(at, UTC), JobStatus.RUNNING, **changes)


def evidence(*jobs: Candidate, **changes: Any) -> Evidence:
    """A complete reading, late enough to prove absence; a later job of ours is listed."""
    values: dict[str, Any] = {
        "jobs": [*jobs, job("ours", 5_000.0)],
        "owned": {"ours"},
        "read_from": LATE,
        "billed": True,
        "echoes": False,
    }
    return Evidence(**(values | changes))


def findings(posts: list[Post], read: Evidence) -> dict[str, tuple[Proof, str | None]]:
    return {
        found.post.submission_id: (found.finding, found.job.job_id if found.job else None)
        for found in judge(posts, read)
    }


def only(posts: list[Post], read: Evidence) -> Judgement:
    (found,) = judge(posts, read)
    return found


# A listing without our ids


def test_the_only_unowned_job_is_adopted_at_once() -> None:
    read = evidence(job("a", 100.5), read_from=103.0, billed=False)
    assert findings([post("s", 100)], read) == {"s": (Proof.ADOPT, "a")}


def test_a_miss_before_the_settle_time_proves_nothing() -> None:
    assert only([post("s", 100)], evidence(read_from=219.9)).finding is Proof.WAIT


def test_a_miss_in_a_complete_reading_after_the_settle_time_is_absence() -> None:
    assert only([post("s", 100)], evidence(read_from=220.0)).finding is Proof.ABSENT


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"billed": False}, Proof.WAIT),
        ({"jobs": [], "read_from": 230.0}, Proof.WAIT),  # no later job of ours yet
        ({"jobs": []}, Proof.HOLD),
        ({"jobs": [job("ours", 100.9)]}, Proof.HOLD),  # one of ours, but not accepted later
        ({"doubt": "the lag is not known"}, Proof.HOLD),
        ({}, Proof.ABSENT),
    ],
)
def test_absence_needs_every_part_of_its_proof(changes: dict[str, Any], finding: Proof) -> None:
    assert only([post("s", 100)], evidence(**changes)).finding is finding


@pytest.mark.parametrize("at", [98.9, 132.1])
def test_a_job_outside_the_posts_time_is_a_strangers_and_prevents_every_proof(at: float) -> None:
    found = only([post("s", 100)], evidence(job("a", at)))
    assert (found.finding, [c.job_id for c in found.candidates]) == (Proof.HOLD, ["a"])


def test_a_stranger_who_buys_the_same_model_prevents_adopting_even_the_only_job() -> None:
    read = evidence(job("a", 100.5), job("stranger", -500.0))
    found = only([post("s", 100)], read)
    assert found.finding is Proof.HOLD
    assert [c.job_id for c in found.candidates] == ["a"]
    assert "somebody else" in found.why


def test_a_strangers_purchase_makes_only_the_next_quarter_of_an_hour_doubtful() -> None:
    """An older POST, which is still searched for, widens the listing beyond this POST's own time."""
    posts = [post("old", 100), post("new", 1_000)]
    read = evidence(job("stranger", -200.0), job("a", 100.5), job("b", 1_000.5))
    assert findings(posts, read) == {"old": (Proof.HOLD, None), "new": (Proof.ADOPT, "b")}


def test_a_stranger_who_buys_another_model_changes_nothing() -> None:
    read = evidence(job("a", 100.5), job("stranger", 100.7, model=OTHER))
    assert findings([post("s", 100)], read) == {"s": (Proof.ADOPT, "a")}


def test_one_post_with_two_possible_jobs_is_held_with_both() -> None:
    found = only([post("s", 100)], evidence(job("a", 100.5), job("b", 110.0)))
    assert (found.finding, {c.job_id for c in found.candidates}) == (Proof.HOLD, {"a", "b"})


def test_a_silent_substitution_is_no_absence() -> None:
    found = only([post("s", 100)], evidence(job("a", 100.5, model=OTHER)))
    assert (found.finding, [c.job_id for c in found.candidates]) == (Proof.HOLD, ["a"])


def test_a_model_that_served_the_endpoint_before_is_no_strangers() -> None:
    served = post("s", 100, models=frozenset({SORA, OTHER}))
    assert findings([served], evidence(job("a", 100.5, model=OTHER))) == {"s": (Proof.ADOPT, "a")}


def test_an_owned_job_is_no_candidate() -> None:
    read = evidence(job("a", 100.5), owned={"a", "ours"})
    assert only([post("s", 100)], read).finding is Proof.ABSENT


# A key that others use too


@pytest.mark.parametrize("micros", [None, 400_000, 1])
@pytest.mark.parametrize(
    ("read_from", "finding"), [(103.0, Proof.WAIT), (219.9, Proof.WAIT), (LATE, Proof.HOLD)]
)
def test_on_a_shared_key_the_only_job_is_just_a_candidate(
    micros: int | None, read_from: float, finding: Proof
) -> None:
    read = evidence(job("a", 100.5, charged_micros=micros), read_from=read_from)
    found = only([post("s", 100, shared=True)], read)
    assert (found.finding, [c.job_id for c in found.candidates]) == (finding, ["a"])
    assert found.lack is (Lack.OWNER if finding is Proof.HOLD else None)


def test_on_a_shared_key_a_post_without_any_candidate_is_absent() -> None:
    """Everybody's jobs are listed, and none can be this POST's."""
    read = evidence(job("other", 100.5, model=OTHER, body={}), job("long ago", -2_000.0))
    assert only([post("s", 100, shared=True)], read).finding is Proof.ABSENT


def test_on_a_shared_key_a_strangers_job_near_the_post_prevents_absence() -> None:
    read = evidence(job("x", 300.0))
    assert only([post("s", 100, shared=True)], read).finding is Proof.HOLD


@pytest.mark.parametrize(
    ("shown", "on_our_own_key", "on_a_shared_key"),
    [
        # a provider may clean a prompt, add defaults, or rename a picture's address
        ({**BODY, "prompt": "a trimmed prompt"}, Proof.HOLD, Proof.ABSENT),
        ({**BODY, "duration": "4s"}, Proof.HOLD, Proof.HOLD),
        ({}, Proof.HOLD, Proof.ABSENT),
    ],
)
def test_a_job_of_the_posts_time_with_an_unknown_request_prevents_absence(
    shown: dict[str, object], on_our_own_key: Proof, on_a_shared_key: Proof
) -> None:
    for shared, finding in ((False, on_our_own_key), (True, on_a_shared_key)):
        mine = post("s", 100, body={**BODY, "duration": 4}, shared=shared)
        found = only([mine], evidence(job("a", 100.5, body=shown)))
        assert found.finding is finding
        assert [one.job_id for one in found.candidates] == (["a"] if finding is Proof.HOLD else [])
    of_another_time = evidence(job("a", 1_300.0, body={"prompt": "another"}))
    assert only([post("s", 100)], of_another_time).finding is Proof.ABSENT


def test_on_a_shared_key_a_job_with_our_request_and_seed_is_ours() -> None:
    read = evidence(job("a", 100.5, body=BODY), read_from=103.0)
    assert findings([post("s", 100, shared=True, seeded=True)], read) == {"s": (Proof.ADOPT, "a")}


def test_on_a_shared_key_an_equal_request_may_be_another_installations() -> None:
    read = evidence(job("a", 100.5, body=BODY))
    found = only([post("s", 100, shared=True)], read)
    assert (found.finding, [c.job_id for c in found.candidates]) == (Proof.HOLD, ["a"])


def test_no_elimination_rests_on_a_post_from_when_others_used_the_key() -> None:
    """The first job may be a stranger's; then the second may be the first POST's."""
    posts = [post("s", 100, shared=True), post("t", 106)]
    read = evidence(job("a", 103.0), job("b", 110.0))
    assert findings(posts, read) == {"s": (Proof.HOLD, None), "t": (Proof.HOLD, None)}
    alone = evidence(job("a", 103.0), job("b", 136.0))
    assert findings(posts, alone) == {"s": (Proof.HOLD, None), "t": (Proof.ADOPT, "b")}


@pytest.mark.parametrize("shared", [True, False])
def test_a_candidate_that_vanished_is_no_absence_until_it_is_another_purchases(shared: bool) -> None:
    lost = post("s", 100, shared=shared, seen=frozenset({"a"}))
    found = only([lost], evidence())
    assert (found.finding, found.lack, found.vanished) == (Proof.HOLD, Lack.OWNER, frozenset({"a"}))
    assert only([lost], evidence(owned={"ours", "a"})).finding is Proof.ABSENT


@pytest.mark.slow
def test_whatever_happens_on_a_shared_key_no_job_is_ever_given_to_a_post() -> None:
    """Random histories: strangers buy the same model at any time and price."""
    absent = held = 0
    for seed in range(2_000):
        rng = random.Random(seed)
        posts, made, jobs, at = [], set(), [], 100.0
        for number in range(rng.randint(1, 4)):
            at += rng.choice([0.1, 2.0, 15.0, 60.0])
            name, took = f"s{number}", rng.choice([0.2, 1.0, 30.0])
            posts.append(post(name, at, ended=at + took, settled_from=at + took + 120, shared=True))
            if rng.random() < 0.4:
                made.add(name)
                created = at + rng.uniform(0, took + 30)
                jobs.append(job(f"j{number}", created, charged_micros=rng.choice([None, 400_000])))
        strangers = rng.choice([0, 0, 1, 3])
        jobs += [job(f"x{n}", rng.uniform(-500, at + 900), charged_micros=400_000) for n in range(strangers)]
        for found in judge(posts, evidence(*jobs)):
            assert found.finding in {Proof.HOLD, Proof.ABSENT}, seed
            if found.finding is Proof.ABSENT:
                assert found.post.submission_id not in made, seed
            absent += found.finding is Proof.ABSENT
            held += found.finding is Proof.HOLD
    assert min(absent, held) > 500, (absent, held)


def test_on_a_key_of_our_own_a_job_is_ours_whatever_it_cost() -> None:
    read = evidence(job("a", 100.5, charged_micros=1_200_000), read_from=103.0)
    assert findings([post("s", 100)], read) == {"s": (Proof.ADOPT, "a")}


# Several at once


def test_jobs_are_matched_to_posts_by_elimination() -> None:
    posts = [post("first", 100), post("second", 110), post("third", 120)]
    read = evidence(job("c", 120.5), job("a", 100.5), job("b", 110.5), read_from=125.0)
    assert findings(posts, read) == {
        "first": (Proof.ADOPT, "a"),
        "second": (Proof.ADOPT, "b"),
        "third": (Proof.ADOPT, "c"),
    }


def test_a_job_belongs_to_its_post_when_every_possible_matching_says_so() -> None:
    """Two POSTs may own each job, and yet three jobs are proved: in a storm all five POSTs were held."""
    posts = [
        post("first", 100, ended=120),
        post("second", 115, ended=116),
        post("third", 130, ended=190),
        post("fourth", 210, ended=260),
        post("fifth", 270, ended=271),
    ]
    read = evidence(*(job(name, at) for name, at in zip("abcde", [148, 150, 125, 215, 285], strict=True)))
    assert findings(posts, read) == {
        "first": (Proof.HOLD, None),
        "second": (Proof.ADOPT, "c"),
        "third": (Proof.HOLD, None),
        "fourth": (Proof.ADOPT, "d"),
        "fifth": (Proof.ADOPT, "e"),
    }


def test_a_later_job_waits_for_the_earlier_ones_to_appear() -> None:
    posts = [post("first", 100), post("second", 110)]
    lagging = evidence(job("b", 110.5), read_from=112.0)
    assert {finding for finding, _ in findings(posts, lagging).values()} == {Proof.WAIT}
    complete = evidence(job("b", 110.5), job("a", 100.5), read_from=114.0)
    assert findings(posts, complete) == {"first": (Proof.ADOPT, "a"), "second": (Proof.ADOPT, "b")}


def test_two_posts_with_one_possible_job_are_both_held() -> None:
    posts = [post("first", 100), post("second", 110)]
    assert findings(posts, evidence(job("b", 110.5))) == {
        "first": (Proof.HOLD, None),
        "second": (Proof.HOLD, None),
    }


def test_one_post_is_proved_although_others_are_ambiguous() -> None:
    posts = [post("first", 100), post("second", 110), post("third", 111)]
    read = evidence(job("a", 100.5), job("b", 112.0))
    assert findings(posts, read) == {
        "first": (Proof.ADOPT, "a"),
        "second": (Proof.HOLD, None),
        "third": (Proof.HOLD, None),
    }


def test_more_jobs_than_posts_prove_nothing() -> None:
    posts = [post("first", 100), post("second", 110)]
    read = evidence(job("a", 100.5), job("x", 100.7), job("b", 110.5))
    assert {finding for finding, _ in findings(posts, read).values()} == {Proof.HOLD}


def test_posts_in_flight_and_held_ones_may_own_a_job_too() -> None:
    for claim in ("on the wire", "held"):
        other = post("other", 99, in_question=False, held=claim == "held")
        assert findings([post("s", 100), other], evidence(job("a", 100.5))) == {"s": (Proof.HOLD, None)}


def test_endpoints_do_not_mix() -> None:
    posts = [post("sora", 100), post("pro", 100, models=frozenset({PRO}))]
    read = evidence(job("a", 100.5), job("b", 100.6, model=PRO))
    assert findings(posts, read) == {"sora": (Proof.ADOPT, "a"), "pro": (Proof.ADOPT, "b")}


def test_an_echoed_request_identifies_jobs_also_among_strangers() -> None:
    posts = [post("s", 100)]
    mine, other = {**BODY, "seed": -1}, {**BODY, "prompt": "a lake"}
    read = evidence(job("a", 100.5, body=mine), job("b", 100.6, body=other), job("x", 0.0))
    assert findings(posts, read) == {"s": (Proof.ADOPT, "a")}


@pytest.mark.slow
def test_whatever_happens_on_a_key_of_our_own_no_job_is_given_to_the_wrong_post() -> None:
    """Random histories: some POSTs create a job, some do not, and some jobs are not listed yet."""
    proved = 0
    for seed in range(2_000):
        rng = random.Random(seed)
        posts, truth, jobs = [], {}, []
        at = 100.0
        for number in range(rng.randint(1, 6)):
            at += rng.choice([0.1, 2.0, 15.0, 60.0])
            name, took = f"s{number}", rng.choice([0.2, 1.0, 30.0])
            asked = rng.random() < 0.8
            posts.append(post(name, at, ended=at + took, in_question=asked, settled_from=LATE))
            if rng.random() < 0.8:
                truth[name] = f"j{number}"
                created = job(f"j{number}", at + rng.uniform(0, took + 30))
                jobs += [created] if rng.random() < 0.9 else []
        rng.shuffle(jobs)
        for name, (finding, found) in findings(posts, evidence(*jobs, read_from=at)).items():
            assert finding in {Proof.ADOPT, Proof.WAIT}
            if finding is Proof.ADOPT:
                assert truth.get(name) == found, seed
                proved += 1
    assert proved > 1_000, proved


# A listing that names our ids


@pytest.mark.slow
def test_exactly_those_jobs_are_proved_on_which_every_possible_matching_agrees() -> None:
    """Random readings, compared with an enumeration of every assignment of jobs to POSTs."""
    proved = impossible = 0
    for seed in range(1_500):
        rng = random.Random(seed)
        posts = [post(f"s{n}", 100 + rng.uniform(0, 90), settled_from=LATE) for n in range(rng.randint(1, 5))]
        jobs = [job(f"j{n}", 100 + rng.uniform(0, 120)) for n in range(rng.randint(1, 4))]
        jobs = [one for one in jobs if any(p.may_own(one) for p in posts)]
        ways = [
            dict(zip(jobs, owners, strict=True))
            for owners in itertools.permutations(posts, len(jobs))
            if all(owner.may_own(one) for one, owner in zip(jobs, owners, strict=True))
        ]
        expected = {
            ways[0][one].submission_id: one.job_id
            for one in jobs
            if ways and all(way[one] == ways[0][one] for way in ways)
        }
        found = findings(posts, evidence(*jobs, read_from=200.0))
        given = {name: which for name, (finding, which) in found.items() if finding is Proof.ADOPT}
        if ways:
            assert given == expected, seed
        else:
            # only jobs in an assignable group are proved: the other group has a stranger's job
            assert given.items() <= {
                (p.submission_id, one.job_id) for p in posts for one in jobs if p.may_own(one)
            }, seed
        proved += len(given)
        impossible += not ways
    assert min(proved, impossible) > 100, (proved, impossible)


def test_an_echoed_id_is_proof_whatever_else_is_listed() -> None:
    strangers = [job(f"x{n}", 100.0 + n) for n in range(9)]
    read = evidence(*strangers, job("a", 400.0, model=OTHER, submission_id="s"), echoes=True, read_from=101.0)
    assert findings([post("s", 100)], read) == {"s": (Proof.ADOPT, "a")}


def test_an_echoed_id_is_proof_for_a_held_one_too() -> None:
    held = post("s", 100, in_question=False, held=True)
    assert findings([held], evidence(echoes=True)) == {}
    read = evidence(job("a", 100.5, submission_id="s"), echoes=True)
    assert findings([held], read) == {"s": (Proof.ADOPT, "a")}


def test_a_job_that_carries_no_id_is_never_adopted_where_ids_are_echoed() -> None:
    found = only([post("s", 100)], evidence(job("a", 100.5), echoes=True))
    assert (found.finding, [c.job_id for c in found.candidates]) == (Proof.HOLD, ["a"])


def test_strangers_ids_do_not_prevent_absence() -> None:
    read = evidence(job("a", 100.5, submission_id="theirs"), job("b", 90.0), echoes=True)
    assert only([post("s", 100)], read).finding is Proof.ABSENT


def test_two_posts_never_share_a_job() -> None:
    for order in itertools.permutations([post("s1", 100), post("s2", 100), post("s3", 100)]):
        adopted = [
            found.job.job_id
            for found in judge(order, evidence(job("a", 100.5), job("b", 100.6)))
            if found.job is not None
        ]
        assert len(adopted) == len(set(adopted))


@pytest.mark.parametrize(
    ("asked", "echoed", "fits"),
    [
        ("file:images/a.png#sha256=" + "0" * 64, "https://files.example/1/a.png", True),
        ("file:images/a.png#sha256=" + "0" * 64, None, False),
        ("https://example.com/a.png", "https://files.example/1/a.png", False),
        (
            ["file:a.png#sha256=" + "0" * 64, "https://x/b"],
            ["https://files.example/1/a.png", "https://x/b"],
            True,
        ),
        (["file:a.png#sha256=" + "0" * 64], ["https://files.example/1/a.png", "https://x/b"], False),
    ],
)
def test_a_local_file_is_echoed_as_its_uploaded_address(asked: Any, echoed: Any, fits: bool) -> None:
    mine = post("a", 100.0, body={**BODY, "image": asked})
    assert mine.fits(job("j", 101.0, body={**BODY, "image": echoed})) is fits


# Rows that prove nothing

UNREADABLE = [
    SetAside("no id, no time"),
    SetAside("no id", at=100.5),
    SetAside("no time", job_id="x"),
    SetAside("no price", job_id="x", at=131.0),
]
NO_MATTER = [
    SetAside("before it", at=98.0),
    SetAside("after it", job_id="x", at=133.0),
    SetAside("the job of another purchase", job_id="ours", at=100.5),
    SetAside("another POST's", job_id="x", submission_id="other", at=100.5),
]


@pytest.mark.parametrize("row", UNREADABLE)
@pytest.mark.parametrize("echoes", [True, False])
def test_a_row_that_may_be_about_the_job_prevents_absence_and_the_post_is_held(
    row: SetAside, echoes: bool
) -> None:
    read = evidence(aside=[row], read_from=339.0, echoes=echoes)
    assert only([post("s", 100)], read).finding is Proof.WAIT
    held = only([post("s", 100)], evidence(aside=[row], echoes=echoes))
    assert held.finding is Proof.HOLD
    assert row.why in held.why


@pytest.mark.parametrize("row", NO_MATTER)
def test_a_row_that_cannot_be_about_the_job_changes_nothing(row: SetAside) -> None:
    assert only([post("s", 100)], evidence(aside=[row])).finding is Proof.ABSENT
    assert findings([post("s", 100)], evidence(job("a", 100.5), aside=[row])) == {"s": (Proof.ADOPT, "a")}


@pytest.mark.parametrize("row", UNREADABLE)
def test_beside_a_row_that_may_be_about_the_job_no_other_job_is_adopted(row: SetAside) -> None:
    held = only([post("s", 100)], evidence(job("a", 100.5), aside=[row]))
    assert (held.finding, [c.job_id for c in held.candidates]) == (Proof.HOLD, ["a"])


def test_a_job_whose_charge_cannot_be_read_is_adopted_by_its_listing() -> None:
    row = SetAside("no price", job_id="a", at=101.0)
    read = evidence(job("a", 100.5), aside=[row])
    assert findings([post("s", 100)], read) == {"s": (Proof.ADOPT, "a")}


def test_an_echoed_id_is_proof_whatever_else_cannot_be_read() -> None:
    read = evidence(job("a", 100.5, submission_id="s"), aside=UNREADABLE, echoes=True)
    assert findings([post("s", 100)], read) == {"s": (Proof.ADOPT, "a")}


def test_an_unreadable_row_that_names_the_post_holds_it() -> None:
    row = SetAside("no time", job_id="x", submission_id="s")
    assert only([post("s", 100)], evidence(aside=[row], echoes=True)).finding is Proof.HOLD


@pytest.mark.parametrize(("draft", "proof"), [("draft-1", Proof.HOLD), ("another", Proof.ABSENT)])
def test_on_a_shared_key_a_finish_is_identified_by_its_draft(draft: str, proof: Proof) -> None:
    sent = post("a", 1_000.0, shared=True, body={"draft_id": "draft-1", "resolution": "1080p"})
    listed = job("j", 1_001.0, body={"draft_id": draft, "resolution": "1920x1080"})
    (found,) = judge([sent], evidence(listed))
    assert found.finding is proof
