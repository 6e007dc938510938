"""Verdicts: people's judgements of takes. They are only added, never changed, and recording one buys nothing.

A clip has at most one circled take, by the unique index `one_circled_take_per_clip`. The present verdict on each take follows from
the clip's verdicts in their order.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from resources.errors import DailiesError
from resources.ledger import waiting_finishes
from resources.ledger.current_takes import make_current
from resources.ledger.database import chunks, lock_subject
from resources.ledger.ledger import Ledger
from resources.ledger.records import CLIP, SPARE, Attempt
from resources.ledger.review_tables import unshown_verdicts
from resources.ledger.schema import take_verdicts, unstored_verdicts, verdicts
from resources.ledger.states import AttemptState
from resources.ledger.transaction import Transaction
from resources.ledger.waiting_clips import POLICY_WAY

MOST_REASONS = 8
LONGEST_REASON = 40
LONGEST_NOTE = 2_000
LONGEST_WHO = 200
"""Characters."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{7,63}", re.ASCII)


class Word(StrEnum):
    """The kind of a verdict."""

    CIRCLED = "circled"
    """The take is the chosen one of its clip, and replaces an earlier circled one."""
    REJECTED = "rejected"
    """The take is not good, for the given reasons."""
    NOTED = "noted"
    """A remark, which leaves the present verdict."""
    TAKEN_BACK = "taken_back"
    """The verdict on the take is taken back."""


class VerdictWay(StrEnum):
    """Where a verdict was given."""

    TERMINAL = "terminal"
    ROOM = "room"
    POLICY = POLICY_WAY
    """The series' policy decided, because nobody judged in time; see `review_policy.py`."""
    FINISH = "finish"
    """The finish of a circled draft took over its circle."""


@dataclass(frozen=True)
class Verdict:
    """A judgement of one take, by a person or by the series' policy.

    Raises:
        DailiesError: The id cannot be part of a key, or a text is too long.
    """

    id: str
    """Chosen by the caller, so that a request that is sent twice is one verdict. It is part of a key in the bucket."""
    take: str
    """Id of the take's attempt."""
    word: Word
    who: str
    """The person, or the policy's name."""
    way: VerdictWay
    reasons: tuple[str, ...] = ()
    """Names of reasons, from the team's list."""
    note: str = ""
    second: float | None = None
    """The moment in the video that the note is about, in seconds from its start."""

    def __post_init__(self) -> None:
        too_many = len(self.reasons) > MOST_REASONS or any(len(r) > LONGEST_REASON for r in self.reasons)
        if not _ID.fullmatch(self.id):
            raise DailiesError("a verdict's id has 8 to 64 letters, digits, - and _")
        if len(self.note) > LONGEST_NOTE:
            raise DailiesError(
                f"the note has {len(self.note):,} characters; allowed: {LONGEST_NOTE:,}. Nothing was changed."
            )
        if not 0 < len(self.who) <= LONGEST_WHO or too_many:
            raise DailiesError(
                f"a verdict has a person's name of up to {LONGEST_WHO} characters, and up to {MOST_REASONS} reasons of "
                f"{LONGEST_REASON} characters each. Nothing was changed."
            )
        if self.second is not None and not 0 <= self.second < 86_400:
            raise DailiesError("the moment of a note lies in its video")


@dataclass(frozen=True)
class RecordedVerdict:
    """A verdict in the ledger."""

    verdict: Verdict
    clip: str
    seq: int
    """Its place in the order of all verdicts."""
    at: float
    """When it was given, seconds since the epoch."""


@dataclass(frozen=True)
class Judged:
    """The result of a verdict."""

    recorded: RecordedVerdict
    replaced: RecordedVerdict | None = None
    """The circle of another take that it replaced."""
    others: tuple[RecordedVerdict, ...] = ()
    """Other people's verdicts on the clip since the person last looked."""


def judge(ledger: Ledger, verdict: Verdict, *, seen: int | None = None) -> Judged:
    """Record a verdict on a delivered take, and choose its clip's current take again.

    Args:
        seen: Number of the newest verdict that the person had seen; None if it is not known.

    Raises:
        DailiesError: There is no such take, it cannot get this verdict, or the id belongs to another verdict. Nothing was changed.
    """
    with ledger.transaction(who=f"person {verdict.who}"[:40], run_id=None) as tx:
        attempt = tx.attempt_alone(verdict.take)
        return record(tx, attempt, verdict, seen=seen)


def record(tx: Transaction, attempt: Attempt, verdict: Verdict, *, seen: int | None = None) -> Judged:
    """Record a verdict as `judge` does, in a transaction that has the lock of the clip."""
    of_clip = _verdicts_of_clip(tx.connection, attempt.clip)
    recorded = next((one for one in of_clip if one.verdict.id == verdict.id), None)
    if recorded is not None and recorded.verdict != verdict:
        raise DailiesError(f"the id {verdict.id} belongs to another verdict; nothing was changed")
    earlier = [one for one in of_clip if recorded is None or one.seq < recorded.seq]
    if recorded is None:
        _check(attempt, verdict)
        _check_draft(tx.connection, attempt, verdict)
        # a clock that was set back must not change the order
        at = max([tx.now(), *(one.at for one in earlier)])
        recorded = _add(tx.connection, attempt.clip, verdict, at)
        tx.connection.execute(sa.insert(unstored_verdicts).values(verdict_id=verdict.id))
        _restand(tx.connection, attempt, [*earlier, recorded])
        tx.note(attempt, in_words(verdict))
    replaced = None
    if _circles(recorded):
        circles = (one for one in present_verdicts(earlier).values() if _circles(one))
        replaced = next((one for one in circles if one.verdict.take != verdict.take), None)
    unseen = [one for one in earlier if seen is not None and one.seq > seen]
    return Judged(recorded, replaced, tuple(one for one in unseen if one.verdict.who != verdict.who))


def is_recorded(connection: sa.Connection, verdict_id: str) -> bool:
    """Whether a verdict was recorded before."""
    return connection.execute(sa.select(verdicts.c.id).where(verdicts.c.id == verdict_id)).first() is not None


def is_present(connection: sa.Connection, verdict_id: str) -> bool:
    """Whether a verdict is the present one on its take."""
    query = sa.select(take_verdicts.c.clip).where(take_verdicts.c.verdict_id == verdict_id)
    return connection.execute(query).first() is not None


def in_words(verdict: Verdict) -> str:
    """A verdict in one line, for the journal."""
    why = ", ".join(verdict.reasons)
    sentence = f"{verdict.word.replace('_', ' ')} by {verdict.who}" + (f" ({why})" if why else "")
    moment = "" if verdict.second is None else f"{verdict.second:.1f} s: "
    return sentence + (f": {moment}{verdict.note}" if verdict.note else "")


def present_verdicts(given: Iterable[RecordedVerdict]) -> dict[str, RecordedVerdict]:
    """The present verdict on each take of one clip, by the attempt's id.

    Args:
        given: All verdicts on the clip's takes, in their order.
    """
    present: dict[str, RecordedVerdict] = {}
    for one in given:
        match one.verdict.word:
            case Word.CIRCLED:
                present = {take: other for take, other in present.items() if not _circles(other)}
                present[one.verdict.take] = one
            case Word.REJECTED:
                present[one.verdict.take] = one
            case Word.TAKEN_BACK:
                present.pop(one.verdict.take, None)
            case Word.NOTED:
                pass
    return present


def verdicts_of(ledger: Ledger, clips: Collection[str]) -> dict[str, list[RecordedVerdict]]:
    """All verdicts on the takes of these clips, by clip, in their order; clips without any are left out."""
    by_clip: dict[str, list[RecordedVerdict]] = {}
    with ledger.read() as connection:
        for some in chunks(list(clips)):
            query = sa.select(verdicts).where(verdicts.c.clip.in_(some)).order_by(*_ORDER)
            for one in map(_read, connection.execute(query)):
                by_clip.setdefault(one.clip, []).append(one)
    return by_clip


def given_after(ledger: Ledger, seq: int, *, most: int = 500) -> list[RecordedVerdict]:
    """The verdicts after the one with this number, oldest first."""
    query = sa.select(verdicts).where(verdicts.c.seq > seq).order_by(verdicts.c.seq).limit(most)
    with ledger.read() as connection:
        return [_read(row) for row in connection.execute(query)]


def newest(ledger: Ledger) -> int:
    """Number of the newest verdict, 0 without one."""
    with ledger.read() as connection:
        return int(connection.execute(sa.select(sa.func.max(verdicts.c.seq))).scalar() or 0)


# The bucket's copies


def unstored(ledger: Ledger) -> list[RecordedVerdict]:
    """The verdicts that the bucket does not hold yet, oldest first."""
    query = (
        sa.select(verdicts)
        .join(unstored_verdicts, unstored_verdicts.c.verdict_id == verdicts.c.id)
        .order_by(verdicts.c.seq)
    )
    with ledger.read() as connection:
        return [_read(row) for row in connection.execute(query)]


def mark_stored(ledger: Ledger, verdict_id: str) -> None:
    """Record that the bucket holds a verdict."""
    with ledger.write() as connection:
        connection.execute(sa.delete(unstored_verdicts).where(unstored_verdicts.c.verdict_id == verdict_id))


def known_ids(ledger: Ledger) -> set[str]:
    """The ids of all verdicts in the ledger."""
    with ledger.read() as connection:
        return set(connection.execute(sa.select(verdicts.c.id)).scalars())


def record_stored(ledger: Ledger, verdict: Verdict, *, clip: str, at: float) -> bool:
    """Record a verdict that was found in the bucket; False if the ledger does not know its take.

    Args:
        at: When it was given, seconds since the epoch.
    """
    with ledger.transaction(who="rebuild", run_id=None) as tx:
        lock_subject(tx.connection, clip)
        earlier = _verdicts_of_clip(tx.connection, clip)
        if any(one.verdict.id == verdict.id for one in earlier):
            return True
        try:
            attempt = tx.attempt(verdict.take)
        except DailiesError:
            return False
        _add(tx.connection, clip, verdict, at)
        _restand(tx.connection, attempt, _verdicts_of_clip(tx.connection, clip), later_by="delivered_at")
        tx.note(attempt, f"found in the bucket: {in_words(verdict)}")
        return True


_ORDER = (verdicts.c.at, verdicts.c.seq)


def _verdicts_of_clip(connection: sa.Connection, clip: str) -> list[RecordedVerdict]:
    query = sa.select(verdicts).where(verdicts.c.clip == clip).order_by(*_ORDER)
    return [_read(row) for row in connection.execute(query)]


def _check(attempt: Attempt, verdict: Verdict) -> None:
    """Refuse a verdict that cannot be given."""
    if attempt.subject_kind not in {CLIP, SPARE}:
        raise DailiesError(f"{attempt.subject_key} is no take of a clip; nothing was changed")
    if attempt.state not in {AttemptState.DELIVERED, AttemptState.QUARANTINED}:
        raise DailiesError(
            f"this take of {attempt.clip} is {attempt.state}: only a take with a video is judged"
        )
    if verdict.word is not Word.CIRCLED:
        return
    if attempt.is_spare:
        raise DailiesError(
            f"this take of {attempt.clip} is spare: nobody ordered it, and it never becomes the clip's current take"
        )
    if attempt.state is AttemptState.QUARANTINED:
        raise DailiesError(f"this take of {attempt.clip} is in quarantine; it is circled when it is accepted")


def _check_draft(connection: sa.Connection, attempt: Attempt, verdict: Verdict) -> None:
    """Refuse the circle of a draft that is finished: it would take the circle from its own finish."""
    finish = stored_finish(connection, attempt) if verdict.word is Word.CIRCLED else None
    if finish is not None:
        raise DailiesError(
            f"this draft of {attempt.clip} is finished; circle its finish ({finish.id[:8]}) or another take"
        )


def stored_finish(connection: sa.Connection, take: Attempt) -> Attempt | None:
    """The finish of a draft whose video is there, so that the draft can no longer be circled; None without one."""
    finish = waiting_finishes.finish_of(connection, take.id) if take.is_draft else None
    return None if finish is None or finish.state.is_open else finish


def passed_circle(finish: str) -> str:
    """Id of the verdict that circles a finish in the place of its draft."""
    return f"finish-{finish}"


def pass_circle_on(tx: Transaction, finish: Attempt) -> None:
    """Circle a finish that was just delivered, if its draft is still circled.

    Args:
        tx: A transaction that has the lock of the clip.
    """
    present = present_verdicts(_verdicts_of_clip(tx.connection, finish.clip))
    circle = present.get(finish.finishes or "")
    if circle is not None and _circles(circle) and not finish.is_spare:
        verdict = Verdict(
            id=passed_circle(finish.id),
            take=finish.id,
            word=Word.CIRCLED,
            who=circle.verdict.who,
            way=VerdictWay.FINISH,
            note=circle.verdict.note,
        )
        record(tx, finish, verdict)


def _add(connection: sa.Connection, clip: str, verdict: Verdict, at: float) -> RecordedVerdict:
    values = {
        "id": verdict.id,
        "clip": clip,
        "attempt_id": verdict.take,
        "word": verdict.word.value,
        "reasons": list(verdict.reasons),
        "note": verdict.note,
        "second": verdict.second,
        "who": verdict.who,
        "way": verdict.way.value,
        "at": at,
    }
    row = connection.execute(sa.insert(verdicts).values(values).returning(verdicts.c.seq))
    if verdict.word is not Word.NOTED:
        connection.execute(sa.insert(unshown_verdicts).values(verdict_id=verdict.id))
    return RecordedVerdict(verdict, clip, int(row.scalar_one()), at)


def _restand(
    connection: sa.Connection,
    attempt: Attempt,
    given: Sequence[RecordedVerdict],
    *,
    later_by: Any = "seq",
) -> None:
    """Write the present verdicts, the current take, and whether the clip waits for a person."""
    clip = attempt.clip
    # a remark changes no present verdict
    if given[-1].verdict.word is not Word.NOTED or later_by != "seq":
        connection.execute(sa.delete(take_verdicts).where(take_verdicts.c.clip == clip))
        for take, one in present_verdicts(given).items():
            connection.execute(
                sa.insert(take_verdicts).values(
                    attempt_id=take,
                    clip=clip,
                    verdict_id=one.verdict.id,
                    word=one.verdict.word.value,
                    at=one.at,
                )
            )
        waiting_finishes.note(connection, clip, now=given[-1].at)
    make_current(connection, attempt, since=given[-1].at, later_by=later_by)


def _circles(one: RecordedVerdict) -> bool:
    return one.verdict.word is Word.CIRCLED


def _read(row: sa.Row[Any]) -> RecordedVerdict:
    verdict = Verdict(
        id=row.id,
        take=row.attempt_id,
        word=Word(row.word),
        who=row.who,
        way=VerdictWay(row.way),
        reasons=tuple(row.reasons),
        note=row.note,
        second=row.second,
    )
    return RecordedVerdict(verdict, row.clip, row.seq, row.at)
