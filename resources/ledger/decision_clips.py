"""The clips of a decision, fixed by name when the decision is first seen.

A run covers a range of partitions, which is two positions: when a partition between them is deleted, added or moved, the same
range means other clips. The re-execution of an old run once bought a clip of another series in that way. A decision buys only
the clips that are recorded here, even if its range, tag or page means other clips later.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from resources.ledger.database import lock_subject
from resources.ledger.ledger import Ledger
from resources.ledger.schema import decision_clips

_CLIPS = sa.select(decision_clips.c.clip).where(decision_clips.c.decision == sa.bindparam("decision"))
_ANY_CLIP = _CLIPS.limit(1)
_ONE_CLIP = _CLIPS.where(decision_clips.c.clip == sa.bindparam("clip"))


def fix_clips(ledger: Ledger, decision: str, clips: Iterable[str]) -> frozenset[str]:
    """Fix the clips of a decision, unless they are fixed already.

    Returns:
        The clips that count: these, or those that were fixed first.

    Raises:
        UnavailableError: The ledger cannot be written.
    """
    return fix_rows(ledger, decision, [{"clip": clip} for clip in sorted(set(clips))])


def fix_rows(ledger: Ledger, decision: str, rows: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Fix the clips of a decision with the other columns of `decision_clips`; see `fix_clips`."""
    with ledger.write() as connection:
        lock_subject(connection, decision)
        known = frozenset(connection.execute(_CLIPS, {"decision": decision}).scalars())
        if known or not rows:
            return known
        connection.execute(sa.insert(decision_clips), [{"decision": decision, **row} for row in rows])
    return frozenset(row["clip"] for row in rows)


def fixed_clips(ledger: Ledger, decision: str) -> frozenset[str]:
    """The clips of a decision; empty if it is new."""
    with ledger.read() as connection:
        return frozenset(connection.execute(_CLIPS, {"decision": decision}).scalars())


def refusal(connection: sa.Connection, decision: str, clip: str) -> str | None:
    """Why a decision may not buy a clip; None if the clip is one of its own, or its clips were never fixed."""
    # a decision of 2,000 clips asks this 2,000 times, so never read all of its clips here
    if connection.execute(_ONE_CLIP, {"decision": decision, "clip": clip}).first() is not None:
        return None
    if connection.execute(_ANY_CLIP, {"decision": decision}).first() is None:
        return None
    return (
        f"the decision {decision} is about other clips, so nothing was bought for this one. Ask for it with "
        "`dailies produce`, or materialize it."
    )
