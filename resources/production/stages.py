"""The stages of followed clips. A clip has reached a stage when all of its takes that did not fail have reached it."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from resources.ledger.records import Attempt
from resources.orders import TakeSlot


class Stage(IntEnum):
    """The progress of a clip. A run waits for the last stage that it selects."""

    DECIDED = 0
    SUBMITTED = 1
    GENERATED = 2
    DELIVERED = 3


STEPS = (Stage.SUBMITTED, Stage.GENERATED, Stage.DELIVERED)


@dataclass(frozen=True)
class Report:
    """One take of a clip has reached a stage, or will not reach it."""

    clip: str
    """The clip's key."""
    stage: Stage
    """The stage that the take has reached, or that failed."""
    attempt: Attempt | None
    """The take's attempt as it is now."""
    error: str | None = None
    """Why the take has not reached the stage; None if it has."""
    reused: bool = False
    """Whether nothing was bought or fetched for the take now."""
    shown: Attempt | None = None
    """The attempt that stands for the clip, if the clip reaches the stage with this report; None while another take is missing."""


@dataclass
class _TakeStage:
    stage: Stage = Stage.DECIDED
    attempt: Attempt | None = None
    failed: bool = False


class ClipStages:
    """The stages that the takes of each followed clip have reached.

    Args:
        until: The last stage to wait for.
    """

    def __init__(self, until: Stage) -> None:
        self._until = until
        self._takes: dict[str, dict[TakeSlot, _TakeStage]] = {}
        self._shown: dict[str, Stage] = {}

    def follow(self, slot: TakeSlot) -> None:
        """Add a take to those that its clip waits for."""
        self._takes.setdefault(slot.clip, {}).setdefault(slot, _TakeStage())

    def reach(
        self, slot: TakeSlot, attempt: Attempt | None, stage: Stage, *, reused: bool = False
    ) -> Iterator[Report]:
        """Report every stage up to this one that a take newly reached."""
        self.follow(slot)
        take = self._takes[slot.clip][slot]
        for step in STEPS:
            if take.stage < step <= stage:
                take.stage, take.attempt = step, attempt
                shown = self._complete(slot.clip, step)
                yield Report(slot.clip, step, attempt, reused=reused, shown=shown)

    def fail(self, slot: TakeSlot, stage: Stage, attempt: Attempt | None, error: str) -> Iterator[Report]:
        """Report that a take will not reach a stage, and the stages that its clip reaches without it."""
        self.follow(slot)
        takes = self._takes[slot.clip]
        # a stage that an earlier purchase of the decision has reached remains reached
        stage = max(stage, Stage(min(takes[slot].stage + 1, Stage.DELIVERED)))
        if stage > self._until:
            return
        takes[slot].failed = True
        if len(takes) > 1:
            error = f"take in slot {slot.number} of {len(takes)}: {error}"
        yield Report(slot.clip, stage, attempt, error=error)
        for step in STEPS:
            shown = self._complete(slot.clip, step)
            if shown is not None:
                yield Report(slot.clip, step, None, shown=shown)

    def _complete(self, clip: str, step: Stage) -> Attempt | None:
        """The newest attempt of a clip that reaches a stage now; None if the clip does not."""
        takes = [take for take in self._takes[clip].values() if not take.failed]
        reached = [take.attempt for take in takes if take.stage >= step and take.attempt is not None]
        if self._shown.get(clip, Stage.DECIDED) >= step or not reached or len(reached) < len(takes):
            return None
        self._shown[clip] = step
        return max(reached, key=lambda attempt: attempt.seq)
