"""Draws the faults of a history and their times.

Every kind has a separate random stream, so that leaving one out of a failing history leaves the others as they were.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection

POST = (
    "lost answer",
    "error after acceptance",
    "error without acceptance",
    "acceptance after our time-out",
    "garbage as answer",
    "throttled",
    "throttled without proof",
    "refused",
    "not sent",
    "out of credit",
)
"""Outcomes of a POST other than an acceptance that arrives."""
CREATES_NOTHING = {
    "error without acceptance",
    "throttled",
    "throttled without proof",
    "refused",
    "not sent",
    "out of credit",
}
POLL = ("failed poll", "garbage as poll", "odd status", "backward status", "not known yet")
JOB = ("failed job", "moderated job", "stuck job", "vanished job", "small file", "broken file")
TAKEN_BACK = "end taken back"
LIST = ("list lag", "list down", "bill down", "stranger's job")
BILL = ("heedless bill", "bill in cents", "unreadable row")
"""A bill that ignores the requested label, one in another unit, and unreadable rows."""
FETCH = ("cut download", "expired address", "no video")
BUCKET = ("bucket down", "bucket's answer lost")
PEOPLE = ("terminated run", "second run", "second decision", "retry", "another take", "run again at the end")
PROCESS = ("crash", "pause", "clock off")

OUTAGE = "list down throughout"
"""No listing can be read before the faults stop, so that a lost POST is held in the meantime."""
ABANDONED_RUN = "run not repeated"
"""A dead run is not executed again, so that the sensor has to finish its clips."""
JUDGED = "judged takes"
"""People judge takes meanwhile."""

KINDS = (
    *POST,
    *POLL,
    *JOB,
    TAKEN_BACK,
    *LIST,
    OUTAGE,
    *BILL,
    *FETCH,
    *BUCKET,
    *PEOPLE,
    ABANDONED_RUN,
    JUDGED,
    *PROCESS,
)

USUAL: dict[str, float] = {
    "failed poll": 0.2,
    "garbage as poll": 0.1,
    "odd status": 0.3,
    "backward status": 0.3,
    "not known yet": 0.1,
    "cut download": 0.5,
    "bucket down": 0.25,
    "bucket's answer lost": 0.25,
    "list down": 0.3,
    "bill down": 0.3,
    OUTAGE: 1.0,
    ABANDONED_RUN: 1.0,
    "heedless bill": 0.5,
    "bill in cents": 0.3,
    "unreadable row": 0.3,
    "list lag": 0.5,
    "expired address": 0.6,
}
"""The probability of a kind at each chance, in a history that has it."""
OTHERWISE = 0.35


class HistoryFaults:
    """The faults of one history.

    Args:
        seed: The history's seed.
        kinds: The kinds of faults that the history has.
        clock: True time in seconds.
        until: The time at which they stop.

    Attributes:
        struck: The number of faults of each kind.
    """

    def __init__(
        self, seed: object, kinds: Collection[str], *, clock: Callable[[], float], until: float
    ) -> None:
        self.kinds = frozenset(kinds)
        self.struck: Counter[str] = Counter()
        self._seed = seed
        self._clock = clock
        self._until = until
        self._streams: dict[str, random.Random] = {}

    def stream(self, name: str) -> random.Random:
        """Return the random stream of this name."""
        if name not in self._streams:
            self._streams[name] = random.Random(f"{self._seed}:{name}")
        return self._streams[name]

    @property
    def over(self) -> bool:
        """Whether the faults have stopped."""
        return self._clock() >= self._until

    def strikes(self, kind: str, *, chance: float | None = None) -> bool:
        """Whether a fault of a kind occurs now."""
        if kind not in self.kinds or self.over:
            return False
        if self.stream(kind).random() >= (USUAL.get(kind, OTHERWISE) if chance is None else chance):
            return False
        self.struck[kind] += 1
        return True

    def first(self, kinds: Collection[str]) -> str | None:
        """The first of some kinds that occurs now."""
        return next((kind for kind in kinds if self.strikes(kind)), None)
