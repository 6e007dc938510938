"""The table of the policy. The ledger's other tables are in `schema.py`."""

import sqlalchemy as sa

from resources.ledger.schema import Id, Serial, metadata

policy = sa.Table(
    "policy",
    metadata,
    sa.Column("seq", Serial, primary_key=True, autoincrement=True),
    sa.Column("account", Id, nullable=False),
    sa.Column("setting", sa.String(32), nullable=False),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
)
"""Append-only: every statement about a cap, a limit or a settle time, as JSON; see `policy.py`. Updates and deletes are refused by
trigger."""
sa.Index("policy_by_setting", policy.c.account, policy.c.setting, policy.c.seq)
