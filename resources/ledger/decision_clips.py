"""Which clips a decision is about: fixed by name when the decision is first seen.

A run covers a range of partitions, and a range is two positions: when a partition between them is deleted and added again, or
another one comes to lie there, the same range means other clips. Re-executing an old run once bought a clip of another
series in that way. Whatever a range, a tag or a page has come to mean later, only what is written here is bought.
"""

from collections.abc import Iterable

import sqlalchemy as sa

from resources.ledger.database import lock_subject
from resources.ledger.ledger import Ledger
from resources.ledger.schema import decision_clips

_CLIPS = sa.select(decision_clips.c.clip).where(decision_clips.c.decision == sa.bindparam("decision"))
_ANY_CLIP = _CLIPS.limit(1)
_ONE_CLIP = _CLIPS.where(decision_clips.c.clip == sa.bindparam("clip"))


def fix_clips(ledger: Ledger, decision: str, clips: Iterable[str]) -> frozenset[str]:
    """Write down which clips a decision is about, unless that is known already.

    Returns:
        The clips that count: these, or those that were written down first.

    Raises:
        UnavailableError: The ledger cannot be written.
    """
    wanted = sorted(set(clips))
    with ledger.write() as connection:
        lock_subject(connection, decision)
        known = frozenset(connection.execute(_CLIPS, {"decision": decision}).scalars())
        if known or not wanted:
            return known
        connection.execute(
            sa.insert(decision_clips), [{"decision": decision, "clip": clip} for clip in wanted]
        )
    return frozenset(wanted)


def fixed_clips(ledger: Ledger, decision: str) -> frozenset[str]:
    """The clips that a decision is about; none where it was not seen yet."""
    with ledger.read() as connection:
        return frozenset(connection.execute(_CLIPS, {"decision": decision}).scalars())


def refusal(connection: sa.Connection, decision: str, clip: str) -> str | None:
    """Why a decision may not buy a clip, None where it may: it is about this clip, or its clips were never fixed."""
    # a decision of 2,000 clips asks this 2,000 times, so all of its clips are never read here
    if connection.execute(_ONE_CLIP, {"decision": decision, "clip": clip}).first() is not None:
        return None
    if connection.execute(_ANY_CLIP, {"decision": decision}).first() is None:
        return None
    return (
        f"the decision {decision} is about other clips, so nothing was bought for this one. Ask for it with "
        "`dailies produce`, or materialize it."
    )
