"""The results of the rounds, as JSON and as the tables of docs/reliability.md."""

from collections.abc import Mapping
from typing import Any

from bench.tables import origin, table
from proof.faults.storm import RoundOutcome


def as_document(outcome: RoundOutcome) -> dict[str, Any]:
    """One round as JSON."""
    verdict = outcome.verdict
    return {
        "clips": sum(verdict.ends.values()),
        "ends": verdict.ends,
        "jobs": verdict.jobs,
        "spent_usd": verdict.spent_micros / 1e6,
        "duplicates": verdict.count("duplicate"),
        "lost": verdict.count("lost"),
        "unaccounted_jobs": verdict.count("unaccounted"),
        "unaccounted_usd": verdict.unaccounted_micros / 1e6,
        "wrong": verdict.count("wrong"),
        "words": verdict.words,
        "broken_words": verdict.count("verdict"),
        "strangers_taken": verdict.count("stranger"),
        "unended": verdict.count("unended"),
        "ever_unknown": verdict.ever_unknown,
        "held": len(verdict.held),
        "held_and_ambiguous": len(verdict.held) - verdict.count("held"),
        "held_needlessly": verdict.count("held"),
        "ambiguous_and_settled_rightly": len(verdict.settled_in_doubt),
        "ran_on_unseen": len(verdict.outlasted),
        "refunds_awaited_usd": verdict.refunds_awaited_micros / 1e6,
        "wall_seconds": round(outcome.wall_seconds, 1),
        "storm_seconds": round(outcome.storm_seconds, 1),
        "ended_after": round(outcome.ended_after, 1),
        "kills": outcome.kills,
        "faults": outcome.faults,
        "troubles": outcome.troubles,
        "exits": outcome.exits,
        "why_held": verdict.held,
        "settled_in_doubt": verdict.settled_in_doubt,
        "problems": outcome.problems,
    }


def markdown(document: Mapping[str, Any]) -> str:
    """The tables, with the command and the machine they come from."""
    parts = [_storm(document["storm"])] if "storm" in document else []
    if "lost_answers" in document:
        parts.append(_lost_answers(document["lost_answers"]))
    if "dagster" in document:
        parts.append(_dagster(document["dagster"]))
    pace = f"the clock of the ledger, the clients and the providers ran {document['pace']:g} times as fast as real time"
    parts.append(origin(document["command"], document["machine"], document["database"], pace))
    return "\n\n".join(parts)


def _storm(storm: Mapping[str, Any]) -> str:
    kills = sum(storm["kills"].values())
    lines = [
        ("clips ordered / delivered", f"{storm['clips']} / {storm['ends'].get('delivered', 0)}"),
        ("ended otherwise", _counts({k: v for k, v in storm["ends"].items() if k != "delivered"})),
        ("jobs the provider made for us, USD", f"{storm['jobs']}, {storm['spent_usd']:.2f}"),
        ("kills", f"{kills}: {_counts(storm['kills'])}"),
        ("**duplicates**", f"**{storm['duplicates']}**"),
        ("**lost**", f"**{storm['lost']}**"),
        ("**unaccounted**, jobs and USD", f"**{storm['unaccounted_jobs']}, {storm['unaccounted_usd']:.2f}**"),
        ("clips that show another's job", str(storm["wrong"])),
        *(
            [
                ("verdicts on drafts, and finishes bought for them", _counts(storm["words"])),
                ("**verdicts lost, drafts ended unseen**", f"**{storm['broken_words']}**"),
            ]
            if storm["words"]
            else []
        ),
        (
            "submits whose outcome was unknown; held; held though it could be settled",
            f"{storm['ever_unknown']}; {storm['held']}; {storm['held_needlessly']}",
        ),
        ("settled correctly though ambiguous", str(storm["ambiguous_and_settled_rightly"])),
        ("jobs that outlasted their purchase unseen, a declared window", str(storm["ran_on_unseen"])),
        (
            "last clip ended after the faults stopped",
            f"{storm['ended_after'] / 60:.0f} min of the ledger's clock; {storm['unended']} not in time",
        ),
        ("wall", f"{storm['wall_seconds']:.0f} s"),
        ("exposures at the provider", _counts(storm["faults"])),
        ("exposures around the workers", _counts(storm["troubles"])),
    ]
    return table(["a round of kills and faults", ""], lines, numbers=False)


def _lost_answers(both: Mapping[str, Any]) -> str:
    lines = [
        (name, *(str(both[way][key]) for way in ("without", "with")))
        for name, key in (
            ("clips", "clips"),
            ("submits whose outcome was unknown", "ever_unknown"),
            ("duplicates", "duplicates"),
            ("lost", "lost"),
            ("unaccounted, USD", "unaccounted_usd"),
            ("held", "held"),
            ("wall, s", "wall_seconds"),
        )
    ]
    lines.append(("wall, ratio (target ≤ 1.5)", "1", f"{both['ratio']:.2f}"))
    return table(["2 % lost answers, dedicated key", "without faults", "with"], lines)


def _dagster(found: Mapping[str, Any]) -> str:
    lines = [
        ("clips ordered / delivered", f"{found['clips']} / {found['ends'].get('delivered', 0)}"),
        ("ended otherwise", _counts({k: v for k, v in found["ends"].items() if k != "delivered"})),
        ("kills", _counts(found["kills"])),
        ("**duplicates, lost**", f"**{found['duplicates']}, {found['lost']}**"),
        ("**unaccounted**, USD", f"**{found['unaccounted_usd']:.2f}**"),
        ("held; held though it could be settled", f"{found['held']}; {found['held_needlessly']}"),
        ("exposures at the provider", _counts(found["faults"])),
        ("wall", f"{found['wall_seconds']:.0f} s"),
    ]
    return table(["the whole stack: daemon, code server, run workers", ""], lines, numbers=False)


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
