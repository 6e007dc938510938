"""The laws of verdicts: an acknowledged verdict stays in the ledger and reaches the bucket, and circles at most one take of a clip.

Like the other laws they read plain rows and import nothing of dailies.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from proof.laws import Row, Violation

ENDED_WITHOUT_A_VIDEO = {"withdrawn", "rejected", "absent", "failed", "vanished", "lost", "abandoned"}
KIND = "verdict"
"""The kind of every violation in this module."""


@dataclass(frozen=True, kw_only=True)
class GivenVerdicts:
    """People's verdicts, and the verdicts in ledger and bucket."""

    given: Mapping[str, str]
    """The take of every verdict that a person tried to give, by the verdict's id."""
    answered: Collection[str]
    """Ids of the acknowledged ones."""
    verdicts: list[Row]
    """The ledger's `verdicts`."""
    standing: list[Row]
    """The ledger's `take_verdicts`."""
    objects: Mapping[str, bytes]
    """The bucket, by key."""
    priced: Mapping[str, str] = field(default_factory=dict)
    """The clips of the drafts whose finish a person ordered with a circle, by draft."""
    finishes: list[Row] = field(default_factory=list)
    """The ledger's `attempts` that finish a draft."""
    waiting: list[Row] = field(default_factory=list)
    """The ledger's `waiting_finishes`."""


def judge_verdicts(words: GivenVerdicts) -> list[Violation]:
    """All broken laws of verdicts."""
    return [*_lost(words), *_not_in_the_bucket(words), *_not_standing(words), *_unfinished(words)]


def _lost(words: GivenVerdicts) -> Iterator[Violation]:
    known = {row["id"]: row for row in words.verdicts}
    for verdict in sorted(words.answered):
        if verdict not in known:
            yield Violation(KIND, f"{verdict} was acknowledged, and is not in the ledger")
    for verdict, row in known.items():
        if row["way"] == "finish":
            continue
        if words.given.get(verdict) != row["attempt_id"]:
            yield Violation(KIND, f"no person gave the verdict {verdict} on {row['attempt_id']}")


def _unfinished(words: GivenVerdicts) -> Iterator[Violation]:
    """A circled draft has its finish, or is shown without one; an order that waits has a reason."""
    circled = {row["attempt_id"] for row in words.standing if row["word"] == "circled"}
    orders = {row["draft"]: row for row in words.waiting}
    # a spare take is judged like any take: it may come from a finish that failed at first, and it finishes nothing by itself
    live = {
        row["finishes"]
        for row in words.finishes
        if row["subject_kind"] == "clip" and row["state"] not in ENDED_WITHOUT_A_VIDEO
    }
    for draft, clip in words.priced.items():
        if draft in circled and draft not in live and draft not in orders:
            yield Violation(
                KIND, f"{clip}: its circled draft {draft} has no finish, and is not shown as such"
            )
    for draft, row in orders.items():
        if draft not in circled or draft in live:
            yield Violation(
                KIND, f"{row['clip']}: {draft} is shown without a finish, and is not circled or has one"
            )
        if row["decision"] is not None and row["reason"] is None:
            yield Violation(
                KIND, f"{row['clip']}: the finish of {draft} is ordered, and waits without a reason"
            )


def _not_in_the_bucket(words: GivenVerdicts) -> Iterator[Violation]:
    for row in words.verdicts:
        stored = words.objects.get(f"verdicts/{row['clip']}/{row['id']}.json")
        if stored is None or json.loads(stored)["take"] != row["attempt_id"]:
            yield Violation(KIND, f"the bucket does not have the verdict {row['id']}")


def _not_standing(words: GivenVerdicts) -> Iterator[Violation]:
    """The takes' state follows from the verdicts in their order, and at most one take of a clip is circled."""
    stands: dict[str, dict[str, str]] = defaultdict(dict)
    for row in sorted(words.verdicts, key=lambda row: (row["at"], row["seq"])):
        clip = stands[row["clip"]]
        match row["word"]:
            case "circled":
                for take in [take for take, word in clip.items() if word == "circled"]:
                    del clip[take]
                clip[row["attempt_id"]] = "circled"
            case "rejected":
                clip[row["attempt_id"]] = "rejected"
            case "taken_back":
                clip.pop(row["attempt_id"], None)
    told = {take: word for clip in stands.values() for take, word in clip.items()}
    kept = {row["attempt_id"]: row["word"] for row in words.standing}
    if told != kept:
        yield Violation(KIND, f"the ledger shows {kept}, and its verdicts give {told}")
    circled = Counter(row["clip"] for row in words.standing if row["word"] == "circled")
    for clip, number in circled.items():
        if number > 1:
            yield Violation(KIND, f"{clip} has {number} circled takes")
