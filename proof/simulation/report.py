"""The results of the histories, as JSON and as the tables of docs/reliability.md."""

from typing import Any

from bench.tables import table
from proof.laws import KINDS_OF_VIOLATION
from proof.simulation.campaign import PAIR, RANDOM, SINGLE, CampaignTally
from proof.simulation.faults import KINDS


def document(tally: CampaignTally, *, command: str, seconds: float, complete: bool) -> dict[str, Any]:
    """All results as JSON values."""
    return {
        "command": command,
        "seconds": round(seconds, 1),
        "complete": complete,
        "histories": dict(tally.histories),
        "clips": dict(tally.clips),
        "jobs": tally.jobs,
        "jobs_that_outlasted_their_endpoint": tally.outlasted,
        "crash_points": len(tally.passed),
        "crash_points_hit": len(tally.crashed),
        "crash_points_missed": sorted(set(tally.passed) - set(tally.crashed)),
        "crashes": dict(sorted(tally.crashed.items())),
        "exposures": {kind: tally.struck[kind] for kind in KINDS},
        "states": dict(tally.states),
        "latest_end_seconds": round(tally.latest_end, 1),
        "violations": {kind: tally.kinds[kind] for kind in KINDS_OF_VIOLATION},
        "failures": tally.violations,
    }


def markdown(found: dict[str, Any]) -> str:
    """The tables of docs/reliability.md."""
    histories, clips, wrong = found["histories"], found["clips"], found["violations"]
    rows = [
        ("histories with one crash, at every point", f"{histories.get(SINGLE, 0):,}"),
        ("histories with every pair of crashes", f"{histories.get(PAIR, 0):,}"),
        ("random histories", f"{histories.get(RANDOM, 0):,}"),
        ("clips ordered / jobs bought", f"{sum(clips.values()):,} / {found['jobs']:,}"),
        (
            "distinct crash points found / died at",
            f"{found['crash_points']} / {found['crash_points_hit']}",
        ),
        (
            "deaths / sleeps beyond a lease or deadline",
            f"{sum(found['crashes'].values()):,} / {found['exposures']['pause']:,}",
        ),
        ("**duplicates**", f"**{wrong['duplicate']}**"),
        ("**lost**", f"**{wrong['lost']}**"),
        ("**unaccounted**", f"**{wrong['unaccounted']}**"),
        ("over a cap", f"{wrong['over the cap']}"),
        ("shown with another clip's job", f"{wrong['wrong']}"),
        ("**a stranger's job counted as ours**", f"**{wrong['stranger']}**"),
        (
            "an AI/ML API job that ran on unseen beyond `max_seconds`, booked later (a declared window)",
            f"{found['jobs_that_outlasted_their_endpoint']}",
        ),
        ("held though it could be settled", f"{wrong['held']}"),
        ("not ended in time / unforeseen errors", f"{wrong['unended']} / {wrong['broken']}"),
        ("last end after the faults, virtual seconds", f"{found['latest_end_seconds']:,.0f}"),
    ]
    struck = found["exposures"].items()
    return "\n\n".join(
        [
            table(("", ""), rows),
            f"`{found['command']}`, {found['seconds'] / 60:.0f} minutes.",
            table(("fault", "number of faults"), ((kind, f"{count:,}") for kind, count in struck)),
        ]
    )
