"""The tables of clips that wait for a verdict, drafts that wait for a finish, and verdicts that wait to be shown in Dagster."""

import sqlalchemy as sa

from resources.ledger.schema import Id, Words, attempts, metadata, partial_index
from resources.ledger.states import FINISHED_BY

waiting_clips = sa.Table(
    "waiting_clips",
    metadata,
    sa.Column("clip", sa.String(128), primary_key=True),
    sa.Column("attempt_id", Id, sa.ForeignKey("attempts.id"), nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("decide_at", sa.Double),
    sa.Column("held_at", sa.Double),
)
"""The clips that wait for a person's verdict, and when their series' policy decides; see `waiting_clips.py`."""
sa.Index("waiting_clips_by_end", waiting_clips.c.decide_at)

unshown_verdicts = sa.Table(
    "unshown_verdicts",
    metadata,
    sa.Column("verdict_id", Id, primary_key=True),
)
"""The verdicts that are not shown in Dagster yet."""

waiting_finishes = sa.Table(
    "waiting_finishes",
    metadata,
    sa.Column("clip", sa.String(128), primary_key=True),
    sa.Column("draft", Id, sa.ForeignKey("attempts.id"), nullable=False),
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("ends_at", sa.Double),
    sa.Column("decision", sa.String(128)),
    sa.Column("at_most_micros", sa.BigInteger),
    sa.Column("ordered_by", Words),
    sa.Column("reason", Words),
)
"""The circled drafts whose finish is not bought; see `waiting_finishes.py`."""

_LIVE_FINISH = "finishes IS NOT NULL AND subject_kind = 'clip' AND state IN ({})".format(
    ", ".join(f"'{state.value}'" for state in sorted(FINISHED_BY))
)
partial_index("one_finish_per_draft", _LIVE_FINISH, attempts.c.finishes, unique=True)
"""A draft is finished once: at most one of its finishes is queued, bought, delivered or in quarantine."""
