"""The ledger's mark in its bucket, which prevents an outdated ledger from buying.

`ledger.json` records how far the bucket's ledger was. A ledger without that history (restored from a copy, emptied, or a copy
that was used separately) would buy clips again that it does not know. The mark is advanced after orders were placed, at most every
few seconds: `docs/reliability.md` names the window that this leaves.
"""

import asyncio
import logging
import threading
import time
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from resources.errors import ConfigurationError, DailiesError
from resources.ledger.ledger import Ledger
from resources.ledger.recovery.mark import Mark, knows, mark_of, newest_seq, replace_fact
from resources.storage.layout import ledger_key
from resources.storage.objects import ObjectStore
from resources.storage.trial import BucketTrial, try_bucket
from resources.storage.ways import Ways

logger = logging.getLogger("dailies")

ADVANCE_SECONDS = 5.0
"""The shortest time between two advances of the mark."""
CHECK_SECONDS = 30.0
"""How long a process may buy before it reads the mark again."""
PATIENCE_SECONDS = 5.0
"""How long reads and writes of the mark are retried during an outage of the bucket."""


BUCKET_FACT = "bucket"
TRIAL_FACT = "bucket trial"
TRIAL_SECONDS = 86_400.0
"""How long the result of a trial of the bucket is valid."""
_MOST_TRIALS = 8
"""How many addresses are kept; the embedded S3 has another port after each start."""


class LedgerBehindError(ConfigurationError):
    """The bucket's mark is newer than the ledger, which may not buy until it is rebuilt."""


class BucketMark:
    """The mark of one ledger in one bucket.

    Threads may share it.
    """

    def __init__(self, ledger: Ledger, store: ObjectStore) -> None:
        patience = min(PATIENCE_SECONDS, store.settings.ride_out_seconds)
        self._ledger = ledger
        self._store = ObjectStore(store.settings.model_copy(update={"ride_out_seconds": patience}))
        self._turn = threading.Lock()
        self._checked_at = float("-inf")
        self._advanced_at = float("-inf")
        self._written = -1

    def bind(self, *, buying: bool) -> None:
        """Check that ledger and bucket belong together; the first use binds them.

        Args:
            buying: Whether the caller will buy, which a ledger that is older than its bucket may not.

        Raises:
            LedgerBehindError: The ledger is older than its bucket, and the caller will buy. Nothing was bought.
            ConfigurationError: The bucket has another ledger, or the ledger another bucket. Nothing was bought.
            resources.errors.UnavailableError: The bucket does not answer.
        """
        with self._turn:
            self._check(buying=buying)

    def refusal(self) -> DailiesError | None:
        """Why nothing may be bought now; None if something may. Reads the mark again after `CHECK_SECONDS`."""
        with self._turn:
            if time.monotonic() - self._checked_at <= CHECK_SECONDS:
                return None
            try:
                self._check(buying=True)
            except DailiesError as error:
                return error
            return None

    def examine(self) -> None:
        """Check whether the ledger may buy for the bucket, without binding or writing anything.

        Raises:
            ConfigurationError: It may not; see `bind`.
            resources.errors.UnavailableError: The bucket does not answer.
        """
        with self._turn:
            self._compared(buying=True)

    @property
    def rests_for(self) -> float:
        """Seconds until the mark may be advanced again, so that many orders cause few requests."""
        return max(0.0, self._advanced_at + ADVANCE_SECONDS - time.monotonic())

    def advance(self) -> None:
        """Advance the mark to the ledger's newest entry.

        Raises:
            DailiesError: The ledger is behind, or the bucket does not answer; nothing was written.
        """
        with self._turn:
            if newest_seq(self._ledger) != self._written:
                self._check(buying=True)
                self._write()

    def replace(self) -> None:
        """Write the ledger's mark, replacing any mark in the bucket. Only for a ledger that was just rebuilt from the bucket."""
        with self._turn:
            self._write()

    def _check(self, *, buying: bool) -> None:
        kept, place, mark = self._compared(buying=buying)
        if mark is None:
            self._write()
        if kept is None:
            self._ledger.remember(BUCKET_FACT, place)
        if buying:
            self._checked_at = time.monotonic()

    def _compared(self, *, buying: bool) -> tuple[str | None, str, Mark | None]:
        """The bucket that the ledger knows, the present bucket, and the mark in it, if they belong together."""
        place = place_of(self._store)
        kept = self._ledger.fact(BUCKET_FACT)
        if kept is not None and kept != place:
            raise ConfigurationError(
                f"this ledger belongs to the bucket {kept}, not to {place}; its clips would be bought again. "
                f"Set DAILIES_S3_BUCKET back, or give {place} a ledger of its own with DAILIES_HOME."
            )
        mark = read_mark(self._store)
        if mark is None and kept is not None:
            raise ConfigurationError(
                f"the bucket {place} no longer holds this ledger's mark ({ledger_key()}): was it emptied or replaced? "
                "Nothing was bought. Restore the bucket, or start a new ledger with DAILIES_HOME."
            )
        if mark is not None:
            self._recognise(mark, place, buying=buying)
        return kept, place, mark

    def _recognise(self, mark: Mark, place: str, *, buying: bool) -> None:
        name = self._ledger.fact("ledger_id")
        if mark.ledger != name:
            raise ConfigurationError(
                f"the bucket {place} belongs to another ledger ({mark.ledger}, this one is {name}); its clips would be bought "
                "again. Use that ledger (DAILIES_HOME or DAILIES_LEDGER_URL), or another bucket. If that "
                "ledger is lost, put its newest copy back (`dailies ledger backups --to FILE`, `dailies ledger restore FILE`, then `dailies "
                "ledger rebuild`); without a copy, `dailies ledger rebuild --take-over` reads back into this one what was bought."
            )
        if buying and not knows(self._ledger, mark):
            raise LedgerBehindError(_behind(self._ledger, self._store, mark))

    def _write(self) -> None:
        mark = mark_of(self._ledger)
        data = mark.model_dump_json(indent=1).encode()
        self._store.put_bytes(ledger_key(), data, content_type="application/json", overwrite=True)
        self._advanced_at = time.monotonic()
        self._written = mark.seq


def place_of(store: ObjectStore) -> str:
    """The ledger's text for a bucket."""
    return store.uri("").rstrip("/")


class MarkKeeper:
    """Checks the mark before orders and advances it after them, without blocking the event loop.

    Args:
        mark: The mark; None for a ledger without a bucket, as in tests.
    """

    def __init__(self, mark: BucketMark | None) -> None:
        self._mark = mark
        self._advancing: asyncio.Task[None] | None = None
        self._behind = False

    async def refusal(self) -> DailiesError | None:
        """Why nothing may be bought now; None if something may."""
        return None if self._mark is None else await asyncio.to_thread(self._mark.refusal)

    def progressed(self) -> None:
        """Advance the mark after orders were placed, now or as soon as it may be advanced again."""
        if self._mark is None:
            return
        self._behind = True
        if self._advancing is None or self._advancing.done():
            self._advancing = asyncio.create_task(self._advance_soon(self._mark))

    async def aclose(self) -> None:
        """Advance the mark for the last time."""
        if self._mark is None or self._advancing is None:
            return
        self._advancing.cancel()
        await asyncio.wait({self._advancing})
        await self._advance(self._mark)

    async def _advance_soon(self, mark: BucketMark) -> None:
        while self._behind:
            await asyncio.sleep(mark.rests_for)
            # orders placed from here on may need another advance
            self._behind = False
            await self._advance(mark)

    @staticmethod
    async def _advance(mark: BucketMark) -> None:
        try:
            await asyncio.to_thread(mark.advance)
        except DailiesError as error:
            logger.warning("the ledger's mark in the bucket was not advanced: %s", error)


def read_mark(store: ObjectStore) -> Mark | None:
    """The mark in a bucket; None if there is none. A mark that cannot be read belongs to no ledger."""
    data = store.get_bytes(ledger_key())
    if data is None:
        return None
    try:
        return Mark.model_validate_json(data)
    except ValidationError:
        return Mark(ledger="unreadable")


def _behind(ledger: Ledger, store: ObjectStore, mark: Mark) -> str:
    ours = mark_of(ledger)
    return (
        f"this ledger is older than its bucket: {store.uri(ledger_key())} names its entry {mark.seq} of {_when(mark.at)}, "
        f"which it does not have (it ends with entry {ours.seq} of {_when(ours.at)}). It was restored from a copy, or another "
        "copy of it is in use; what was bought since would be bought again. Run `dailies ledger rebuild`, "
        "which reads back what was bought from the bucket and the providers. What is paid for is fetched meanwhile."
    )


def _when(at: float | None) -> str:
    return "no time" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


# Binding


def bind_bucket(ledger: Ledger, store: ObjectStore, *, buying: bool = True) -> None:
    """Check that this ledger and this bucket belong together; the first use binds them.

    Before the first purchase, and then once a day, a trial makes the requests that a delivery will make.

    Args:
        buying: Whether something is to be bought. A ledger that is older than its bucket may not buy.

    Raises:
        LedgerBehindError: The ledger is older than its bucket, and something is to be bought. Nothing was.
        ConfigurationError: The bucket has another ledger, or the ledger another bucket, or the bucket cannot take a clip.
            Nothing was bought.
        resources.errors.UnavailableError: The bucket does not answer.
    """
    kept = _Trials.of(ledger).trials.get(store.place)
    if kept is not None:
        store.learn(kept.ways)
    BucketMark(ledger, store).bind(buying=buying)
    # a trial in the future counts as too old: the clock was set back
    if buying and not (kept is not None and abs(ledger.clock() - kept.at) < TRIAL_SECONDS):
        try_and_keep(ledger, store).refuse(store)


def try_and_keep(ledger: Ledger, store: ObjectStore) -> BucketTrial:
    """Try the bucket, and keep the supported ways of storing in the ledger. A bucket that fails is tried before each purchase.

    Raises:
        resources.errors.UnavailableError: The bucket does not answer.
    """
    patience = min(PATIENCE_SECONDS, store.settings.ride_out_seconds)
    trial = try_bucket(ObjectStore(store.settings.model_copy(update={"ride_out_seconds": patience})))
    _Trials.of(ledger).keep(ledger, store.place, None if trial.missing else trial.ways)
    return trial


class _Kept(BaseModel):
    """The result of the last trial of a bucket."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: float
    """Seconds since the epoch."""
    ways: Ways


class _Trials(BaseModel):
    """The trials that the ledger keeps, by address, since two hosts may reach one bucket by different addresses."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    trials: dict[str, _Kept] = {}

    @classmethod
    def of(cls, ledger: Ledger) -> "_Trials":
        """The trials that the ledger keeps; empty if they cannot be read."""
        try:
            return cls.model_validate_json(ledger.fact(TRIAL_FACT) or "{}")
        except ValidationError:
            return cls()

    def keep(self, ledger: Ledger, place: str, ways: Ways | None) -> None:
        """Replace the trial of a bucket. None removes it, so that the next purchase tries again."""
        others = {name: kept for name, kept in self.trials.items() if name != place}
        if ways is None and len(others) == len(self.trials):
            return
        tried = others if ways is None else {**others, place: _Kept(at=ledger.clock(), ways=ways)}
        newest = sorted(tried.items(), key=lambda item: item[1].at)[-_MOST_TRIALS:]
        replace_fact(ledger, TRIAL_FACT, _Trials(trials=dict(newest)).model_dump_json())
