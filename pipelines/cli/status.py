"""`dailies status`: the clips that it shows, and how many there are."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.cli.clip_table import as_document, show_clips
from pipelines.cli.terminal import counted, note, print_json_list, tell
from resources import plain
from resources.errors import DailiesError
from resources.ledger import refused_hosts, waiting_finishes
from resources.ledger.deliveries import failed_deliveries
from resources.ledger.ledger import Ledger
from resources.ledger.newest import clips_bought, newest, pages
from resources.ledger.states import OPEN, UNDELIVERED, AttemptState
from resources.ledger.waiting_clips import waiting
from resources.money import show_cents, show_usd
from resources.settings import Settings

NEWEST = 50
"""How many delivered clips are shown without a selection."""
LONGEST_WHY = 300
"""The most characters of a reason."""
NAMED = 3
"""The most hosts that are named."""


@dataclass(frozen=True)
class ShownClips:
    """The clips of a status."""

    ids: list[str]
    """Their newest attempts, in the order of their purchases."""
    left_out: int = 0
    """How many delivered clips are left out."""

    @property
    def why(self) -> str:
        """A sentence about the clips that are left out; empty if there are none."""
        if not self.left_out:
            return ""
        return f"of {self.left_out + NEWEST:,} delivered clips the newest {NEWEST} are shown; --all shows every clip"


def clips_shown(
    ledger: Ledger, selectors: Sequence[str], *, series: str | None, failed: bool, every: bool
) -> ShownClips:
    """The open, the failed and the newest delivered clips; with selectors or `every`, all that they choose.

    Args:
        series: The series to show; None for all.
        failed: Whether to show only failed clips.
        every: Whether to show every delivered clip.

    Raises:
        ConfigurationError: A selector is wrong.
    """
    if failed or selectors or every:
        from resources.planning import chosen_purchases

        states = UNDELIVERED if failed else frozenset(AttemptState)
        today = dt.datetime.now(dt.UTC).date()
        return ShownClips(
            [one.id for one in chosen_purchases(ledger, selectors, today=today, states=states, series=series)]
        )
    rest = newest(ledger, OPEN | UNDELIVERED, series=series)
    delivered = newest(ledger, {AttemptState.DELIVERED}, series=series, last=NEWEST)
    # a clip may be delivered between the two queries
    clips = {one.subject_key for one in (*rest, *delivered)}
    ids = list(dict.fromkeys(one.id for one in (*rest, *delivered)))
    left_out = clips_bought(ledger, series=series) - len(clips) if len(delivered) == NEWEST else 0
    return ShownClips([attempt.id for attempt in ledger.attempts(ids).values()], max(0, left_out))


def print_status(ledger: Ledger, shown: ShownClips, *, long: bool) -> None:
    """Print the clips, a page at a time, and their cost."""
    cost = 0
    whole: dict[str, bool] = {}
    for page in pages(ledger, shown.ids):
        show_clips(page, long=long)
        for attempt in page:
            # a clip of several takes is delivered when each of them is
            is_delivered = attempt.state is AttemptState.DELIVERED
            whole[attempt.subject_key] = whole.get(attempt.subject_key, True) and is_delivered
        cost += sum(a.cost_micros for a in page)
    total = counted(len(whole) + shown.left_out, "clip")
    of = "the newest takes shown" if shown.left_out else "their newest takes"
    tell(f"\n{sum(whole.values()) + shown.left_out} of {total} delivered, {show_usd(cost)} in {of}")
    if shown.why:
        tell(shown.why)
    # all clips are here, or those that a person chose, unless older ones are left out
    clips = [clip for clip in waiting(ledger) if shown.left_out or clip.clip in whole]
    if clips:
        held = sum(clip.held_at is not None for clip in clips)
        tell(
            f"{counted(len(clips), 'clip')} without a verdict, {show_cents(sum(clip.spent_micros for clip in clips))}"
            f"{f', {held} held' if held else ''}: `dailies room`"
        )

    with ledger.read() as connection:
        drafts = waiting_finishes.waiting(connection)
    unfinished = sum(bool(shown.left_out) or draft.clip in whole for draft in drafts)
    if unfinished:
        tell(f"{counted(unfinished, 'circled draft')} without a finish: `dailies finish`")


def print_status_json(ledger: Ledger, shown: ShownClips) -> None:
    """Print the clips as one JSON list."""
    if shown.why:
        # on standard error, beside the document
        note(shown.why)
    print_json_list(as_document(attempt) for page in pages(ledger, shown.ids) for attempt in page)


def refused_in_words(ledger: Ledger) -> list[str]:
    """One line that names the hosts that may not buy; empty if all may."""
    hosts = sorted({one.host for one in refused_hosts.refused(ledger)})
    named = ", ".join(hosts[:NAMED]) + (f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else "")
    what = "its settings or its data folder are" if len(hosts) == 1 else "their settings or data folders are"
    return [f"{named} may not buy: {what} not those in force. `dailies policy` says more"] if hosts else []


def undelivered_in_words(ledger: Ledger) -> list[str]:
    """One line about finished clips that could not be fetched into the bucket, e.g. because its key was revoked; empty without one."""
    whys = failed_deliveries(ledger)
    if not whys:
        return []
    clips = "1 finished clip is" if len(whys) == 1 else f"{len(whys)} finished clips are"
    why = plain.shown(whys[-1], longest=LONGEST_WHY).rstrip(".")
    return [
        f"{clips} not in the bucket yet: {why}. dailies tries again by itself; `dailies doctor` tries the bucket now."
    ]


def refusal_of_empty(settings: Settings, ledger: Ledger) -> str | None:
    """Why an empty ledger may not buy: its bucket holds purchases, or cannot be read. None if it may, or before a bucket is set."""
    from pipelines.cli.bucket import refusal_of_bucket

    try:
        why = refusal_of_bucket(settings, ledger)
    except DailiesError as error:
        # before the first `dailies up` there is no bucket, which is no news
        return str(error) if settings.s3_bucket else None
    return why and f"this ledger holds no clip, and nothing is bought: {why}"
