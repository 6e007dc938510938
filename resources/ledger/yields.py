"""What purchases were worth: how many takes were circled or rejected, and what one circled take cost with all others."""

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.records import CLIP, SPARE
from resources.ledger.schema import attempts, take_verdicts, verdicts
from resources.ledger.states import FINISHED_BY, AttemptState, MoneyState
from resources.ledger.verdicts import VerdictWay, Word

_FREE = [MoneyState.RELEASED.value, MoneyState.REFUNDED.value]
_WITH_VIDEO = [AttemptState.DELIVERED.value, AttemptState.QUARANTINED.value]


_WAY = sa.case(
    (
        sa.or_(attempts.c.is_draft, attempts.c.finishes.is_not(None)),
        sa.literal_column("'draft, then finish'"),
    ),
    else_=sa.literal_column("'straight'"),
)
_PROMPT = sa.func.coalesce(
    attempts.c.request[("body", "prompt")].as_string(), attempts.c.request[("finishes", "prompt")].as_string()
)
"""The finish of the very draft has no prompt of its own; its draft's counts."""


class YieldBy(StrEnum):
    """What the lines of a report are about."""

    SERIES = "series"
    MODEL = "model"
    """The endpoint that was bought."""
    DAY = "day"
    """The day that a purchase counts for."""
    WAY = "way"
    """Drafts with their finishes, or straight."""
    PROMPT = "prompt"
    """Each part of a prompt that was declared as fields, e.g. its `camera`. A purchase is in the line of each of its parts."""


@dataclass
class YieldLine:
    """The purchases of one series, model or day, and what became of them."""

    name: str
    bought: int = 0
    """Purchases that cost something."""
    spent_micros: int = 0
    """What counts as spent for them, in micro-USD."""
    takes: int = 0
    """Those with a video, also in quarantine."""
    circled: int = 0
    """Takes that are circled and no drafts, which is also the number of clips with one."""
    rejected: int = 0
    chosen_drafts: int = 0
    """Drafts that are circled, or were circled and have a finish."""
    reasons: Counter[str] = field(default_factory=Counter)
    """How often each reason was given; a take may have several."""
    seconds_to_judge: float | None = None
    """The median time from a delivery to a person's first verdict, None without one."""

    @property
    def unjudged(self) -> int:
        """Takes without a verdict."""
        return self.takes - self.circled - self.rejected - self.chosen_drafts

    @property
    def takes_each(self) -> float | None:
        """Takes for one circled take, None without one."""
        return self.takes / self.circled if self.circled else None

    @property
    def each_micros(self) -> int | None:
        """What one circled take cost with everything that was bought on the way, in micro-USD; None without one."""
        return round(self.spent_micros / self.circled) if self.circled else None


def read_yield(
    ledger: Ledger, by: YieldBy, *, series: str | None = None, since: str | None = None
) -> list[YieldLine]:
    """The lines of a report, the largest spend first; days and parts of prompts in their order.

    Args:
        series: Only purchases of this series.
        since: Only purchases that count for this day (YYYY-MM-DD) or a later one.
    """
    column = {
        YieldBy.SERIES: attempts.c.series,
        YieldBy.MODEL: attempts.c.endpoint,
        YieldBy.DAY: attempts.c.counted_on,
        YieldBy.WAY: _WAY,
        YieldBy.PROMPT: _PROMPT,
    }[by]
    names_of = parts_of if by is YieldBy.PROMPT else lambda value: [str(value)]
    mine: list[sa.ColumnElement[bool]] = [attempts.c.subject_kind.in_([CLIP, SPARE])]
    if series is not None:
        mine.append(attempts.c.series == series)
    if since is not None:
        mine.append(attempts.c.counted_on >= since)
    lines: dict[str, YieldLine] = {}
    waits: dict[str, list[float]] = {}
    with ledger.read() as connection:
        for one in _counted(connection, column, mine):
            for name in names_of(one.name):
                lines[name] = _sum(name, [lines[name], one] if name in lines else [one])
        for value, reasons in connection.execute(_reasons(column, mine)):
            for name in names_of(value):
                lines[name].reasons.update(reasons)
        for value, delivered_at, judged_at in connection.execute(_first_verdicts(column, mine)):
            for name in names_of(value):
                waits.setdefault(name, []).append(max(0.0, judged_at - delivered_at))
    for name, seconds in waits.items():
        lines[name].seconds_to_judge = statistics.median(seconds)
    sorted_lines = sorted(lines.values(), key=lambda line: (-line.spent_micros, line.name))
    return (
        sorted(sorted_lines, key=lambda line: line.name)
        if by in {YieldBy.DAY, YieldBy.PROMPT}
        else sorted_lines
    )


_PART = re.compile(r"^(Scene|Camera|Lighting|Action|Sound|Avoid): (.+)$", re.MULTILINE)
_LONGEST_PART = 80


def parts_of(prompt: str | None) -> list[str]:
    """The fields of a rendered prompt, e.g. `camera: slow push-in`; a text without fields has none."""
    parts = [f"{label.lower()}: {text}" for label, text in _PART.findall(prompt or "")]
    return list(dict.fromkeys(part[:_LONGEST_PART] for part in parts))


def total_of(lines: Sequence[YieldLine]) -> YieldLine:
    """The sum of all lines, without the time to judge. Parts of prompts have none, since a purchase is in several lines."""
    return _sum("all", lines)


def _sum(name: str, lines: Sequence[YieldLine]) -> YieldLine:
    return YieldLine(
        name,
        sum(line.bought for line in lines),
        sum(line.spent_micros for line in lines),
        sum(line.takes for line in lines),
        sum(line.circled for line in lines),
        sum(line.rejected for line in lines),
        sum(line.chosen_drafts for line in lines),
        sum((line.reasons for line in lines), Counter()),
    )


def _counted(
    connection: sa.Connection, column: sa.ColumnElement[Any], mine: list[sa.ColumnElement[bool]]
) -> list[YieldLine]:
    def number(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((condition, 1), else_=0))

    is_free = attempts.c.money_state.in_(_FREE)
    cost = sa.case((is_free, 0), else_=sa.func.coalesce(attempts.c.charged_micros, attempts.c.quoted_micros))
    finishes = attempts.alias("its_finishes").c
    finished = sa.select(finishes.finishes).where(
        finishes.finishes.is_not(None), finishes.state.in_([state.value for state in FINISHED_BY])
    )
    word = sa.func.coalesce(take_verdicts.c.word, "")
    # a finish that is delivered has taken over the circle of its draft
    is_chosen = sa.or_(
        word == Word.CIRCLED.value,
        sa.and_(word != Word.REJECTED.value, attempts.c.id.in_(finished)),
    )
    query = (
        sa.select(
            column,
            number(sa.not_(is_free)),
            sa.func.sum(cost),
            number(attempts.c.state.in_(_WITH_VIDEO)),
            # a circled draft is no select; its finish takes over the circle
            number(sa.and_(take_verdicts.c.word == Word.CIRCLED.value, sa.not_(attempts.c.is_draft))),
            number(take_verdicts.c.word == Word.REJECTED.value),
            number(sa.and_(attempts.c.is_draft, is_chosen)),
        )
        .outerjoin(take_verdicts, take_verdicts.c.attempt_id == attempts.c.id)
        .where(*mine)
        .group_by(column)
    )
    return [
        YieldLine(
            str(name or ""), int(bought), int(spent), int(takes), int(circled), int(rejected), int(chosen)
        )
        for name, bought, spent, takes, circled, rejected, chosen in connection.execute(query)
    ]


def _reasons(column: sa.ColumnElement[Any], mine: list[sa.ColumnElement[bool]]) -> sa.Select[Any]:
    return (
        sa.select(column, verdicts.c.reasons)
        .join(take_verdicts, take_verdicts.c.attempt_id == attempts.c.id)
        .join(verdicts, verdicts.c.id == take_verdicts.c.verdict_id)
        .where(*mine, take_verdicts.c.word == Word.REJECTED.value)
    )


def _first_verdicts(column: sa.ColumnElement[Any], mine: list[sa.ColumnElement[bool]]) -> sa.Select[Any]:
    delivered_at = sa.func.coalesce(attempts.c.delivered_at, attempts.c.finished_at, attempts.c.created_at)
    return (
        sa.select(column, delivered_at, sa.func.min(verdicts.c.at))
        .join(verdicts, verdicts.c.attempt_id == attempts.c.id)
        .where(
            *mine,
            verdicts.c.word.in_([Word.CIRCLED.value, Word.REJECTED.value]),
            verdicts.c.way.not_in([VerdictWay.POLICY.value, VerdictWay.FINISH.value]),
        )
        .group_by(attempts.c.id, column, delivered_at)
    )
