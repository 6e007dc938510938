"""The takes of clips with their verdicts, as people see them."""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from resources.errors import DailiesError
from resources.ledger.database import chunks
from resources.ledger.ledger import Ledger
from resources.ledger.records import CLIP, SPARE, Attempt
from resources.ledger.schema import attempts, current_takes
from resources.ledger.states import AttemptState
from resources.ledger.verdicts import RecordedVerdict, Word, present_verdicts, verdicts_of

_WITH_VIDEO = frozenset({AttemptState.DELIVERED, AttemptState.QUARANTINED})
_SHORTEST_ID = 4


@dataclass(frozen=True)
class Take:
    """One take of a clip."""

    number: int
    """Its place among the clip's takes, from 1."""
    attempt: Attempt
    verdict: RecordedVerdict | None
    """The present verdict: circled, rejected, or None."""
    is_current: bool
    notes: tuple[RecordedVerdict, ...] = ()
    """All remarks on it, oldest first."""

    @property
    def is_circled(self) -> bool:
        """Whether it is the chosen one."""
        return self.verdict is not None and self.verdict.verdict.word is Word.CIRCLED

    @property
    def is_rejected(self) -> bool:
        """Whether it is not good."""
        return self.verdict is not None and self.verdict.verdict.word is Word.REJECTED


@dataclass(frozen=True)
class ClipTakes:
    """A clip with its takes."""

    clip: str
    takes: tuple[Take, ...]
    """Delivered takes and those in quarantine, oldest first; spare takes come last."""
    open: tuple[Attempt, ...]
    """Open purchases."""
    seen: int
    """Number of the newest verdict on its takes, 0 without one."""
    spent: int
    """The cost of all its purchases, failed and open ones too, in micro-USD."""

    @property
    def series(self) -> str:
        """The clip's series; empty without a take."""
        return self.takes[-1].attempt.series if self.takes else ""

    def find(self, named: str | None) -> Take:
        """Find a take by its number or the beginning of its id; without a name, the only take.

        Raises:
            DailiesError: No take, or more than one, has this name.
        """
        if named is None:
            candidates = list(self.takes)
        elif named.isdigit() and len(named) < _SHORTEST_ID:
            candidates = [take for take in self.takes if take.number == int(named)]
        else:
            candidates = [take for take in self.takes if take.attempt.id.startswith(named)]
        if len(candidates) == 1:
            return candidates[0]
        known = ", ".join(f"{take.number} ({take.attempt.id[:8]})" for take in self.takes) or "none"
        problem = "has more than one take" if named is None else f"has no take {named!r}"
        if not self.takes:
            problem = "has no take yet"
        raise DailiesError(
            f"{self.clip} {problem}; there are: {known}. Nothing was changed. `dailies takes {self.clip}` shows them."
        )


def takes_of(ledger: Ledger, clips: Collection[str]) -> dict[str, ClipTakes]:
    """The takes of these clips, by clip; clips that were never bought are left out."""
    keys = list(dict.fromkeys(clips))
    bought: dict[str, list[Attempt]] = {}
    current: set[str] = set()
    with ledger.read() as connection:
        for some in chunks(keys):
            mine = (attempts.c.subject_kind == CLIP, attempts.c.subject_key.in_(some))
            rows = connection.execute(sa.select(attempts).where(*mine).order_by(attempts.c.seq))
            for attempt in map(Attempt.from_row, rows):
                bought.setdefault(attempt.clip, []).append(attempt)
            shown = sa.select(current_takes.c.attempt_id).where(
                current_takes.c.subject_kind == CLIP, current_takes.c.subject_key.in_(some)
            )
            current.update(connection.execute(shown).scalars())
        spares = sa.select(attempts).where(
            attempts.c.subject_kind == SPARE, attempts.c.state.in_([state.value for state in _WITH_VIDEO])
        )
        for attempt in map(Attempt.from_row, connection.execute(spares.order_by(attempts.c.seq))):
            if attempt.clip in bought:
                bought[attempt.clip].append(attempt)
    verdicts = verdicts_of(ledger, list(bought))
    return {
        clip: _clip(clip, bought[clip], current, verdicts.get(clip, [])) for clip in keys if clip in bought
    }


def _clip(clip: str, bought: list[Attempt], current: set[str], verdicts: list[RecordedVerdict]) -> ClipTakes:
    present = present_verdicts(verdicts)
    takes = [
        Take(
            number,
            attempt,
            present.get(attempt.id),
            attempt.id in current,
            tuple(v for v in verdicts if v.verdict.word is Word.NOTED and v.verdict.take == attempt.id),
        )
        for number, attempt in enumerate((a for a in bought if a.state in _WITH_VIDEO), 1)
    ]
    on_its_way = tuple(one for one in bought if one.state.is_open and not one.is_spare)
    last_seq = max((one.seq for one in verdicts), default=0)
    return ClipTakes(clip, tuple(takes), on_its_way, last_seq, sum(one.cost_micros for one in bought))
