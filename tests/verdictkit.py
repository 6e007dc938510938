"""Shortcuts for tests of verdicts on takes."""

import uuid

from resources.ledger.records import Attempt
from resources.ledger.verdicts import Verdict, VerdictWay, Word


def a_verdict(
    take: Attempt,
    word: Word = Word.CIRCLED,
    *,
    who: str = "mira",
    note: str = "",
    reasons: tuple[str, ...] = (),
    second: float | None = None,
    named: str | None = None,
) -> Verdict:
    """A person's verdict on a take."""
    return Verdict(
        id=named or uuid.uuid4().hex,
        take=take.id,
        word=word,
        who=who,
        way=VerdictWay.ROOM,
        note=note,
        reasons=reasons,
        second=second,
    )
