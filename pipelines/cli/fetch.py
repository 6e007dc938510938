"""`dailies fetch`: copies of chosen takes in a folder, with a contact sheet, digests and a timeline."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.cli.bucket import bucket_of
from pipelines.cli.declared import declarations_of
from pipelines.cli.terminal import complain, counted, note, tell
from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.export.fetched_takes import FailedTake, FetchedTake, contact_sheets, fetch_takes
from resources.export.folder import ExportFolder
from resources.export.marked_copies import MarkedCopy, UnmarkedTake, mark_takes
from resources.export.selection import wanted_takes
from resources.export.signing_identity import SigningIdentity
from resources.export.timeline import require_timelines, write_timelines
from resources.ledger.ledger import Ledger
from resources.ledger.takes import Take, takes_of
from resources.planning import chosen_purchases
from resources.production.bucket_mark import bind_bucket
from resources.series import Declarations, date_in_key
from resources.settings import Settings, open_ledger
from resources.storage.objects import ObjectStore
from resources.video.credentials_verifier import CredentialsVerifier, require_credentials
from resources.video.inspector import VideoInspector

LAST = 1_000_000
"""The place of clips that are no longer declared: after the others of their series and day."""


@dataclass
class Fetched:
    """The result of a fetch."""

    folder: Path
    takes: list[FetchedTake] = field(default_factory=list)
    copies: list[MarkedCopy] = field(default_factory=list)
    """The copies that `--sign` or `--mark` made."""
    failed: list[FailedTake] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Why, by clip."""
    extras: list[str] = field(default_factory=list)
    """Contact sheets and timelines, relative to the folder."""
    problems: list[str] = field(default_factory=list)
    """Why some of these could not be written."""
    notes: list[str] = field(default_factory=list)
    """What the timelines lack, and the takes that needed no mark."""

    @property
    def exit_code(self) -> int:
        """1 if something is missing."""
        return 1 if self.failed or self.problems else 0


@dataclass
class Chosen:
    """The takes to fetch."""

    title: str
    """The selectors that chose them, for the timelines."""
    takes: list[Take] = field(default_factory=list)
    selects: set[str] = field(default_factory=set)
    """The attempts of the timeline."""
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Extras:
    """The files that a fetch makes besides the copies."""

    timelines: bool = False
    marks: bool = False
    """Whether to make copies that are marked as made by a generative model."""
    identity: SigningIdentity | None = None
    """The identity that signs these copies."""


def fetch(settings: Settings, selectors: Sequence[str], to: Path, *, every: bool, extras: Extras) -> Fetched:
    """Fetch takes into a folder, with their manifests, a contact sheet and the list of digests.

    Args:
        selectors: Empty for every bought clip.
        every: Every delivered take instead of the circled one.

    Raises:
        DailiesError: A selector is invalid, the folder cannot be used, or the ledger or the bucket does not answer.
    """
    if extras.timelines:
        require_timelines()
    if extras.marks:
        require_credentials()
    folder = ExportFolder(to)
    with bucket_of(settings) as bucket, open_ledger(settings) as ledger:
        bind_bucket(ledger, bucket.store, buying=False)
        chosen = choose(ledger, selectors, declared_or_none(settings), every=every)
        result = Fetched(to, left_out=chosen.left_out)
        try:
            _write(bucket.store, folder, chosen, result, extras)
        except OSError as error:
            raise DailiesError(f"cannot write {error.filename or to}: {error.strerror}") from None
    return result


def _write(store: ObjectStore, folder: ExportFolder, chosen: Chosen, result: Fetched, extras: Extras) -> None:
    with folder.arriving() as arriving:
        try:
            for one in fetch_takes(store, folder, arriving, chosen.takes):
                if isinstance(one, FetchedTake):
                    result.takes.append(one)
                else:
                    result.failed.append(one)
            if extras.marks:
                _add_copies(folder, arriving, result, extras.identity)
            _add_sheets(store, folder, arriving, result)
            if extras.timelines:
                selects = [one for one in result.takes if one.take.attempt.id in chosen.selects]
                timelines = write_timelines(chosen.title, selects, folder.path)
                result.notes += timelines.left_out
                for name, data in timelines.files.items():
                    _add(folder, arriving, result, name, data)
        finally:
            folder.write_sums(arriving)


def _add_copies(
    folder: ExportFolder, arriving: Path, result: Fetched, identity: SigningIdentity | None
) -> None:
    with CredentialsVerifier() as verifier:
        for one in mark_takes(folder, arriving, verifier, result.takes, identity):
            match one:
                case MarkedCopy():
                    result.copies.append(one)
                    result.notes += [one.note] if one.note else []
                case UnmarkedTake():
                    (result.problems if one.was_wanted else result.notes).append(one.why)


def _add_sheets(store: ObjectStore, folder: ExportFolder, arriving: Path, result: Fetched) -> None:
    try:
        with VideoInspector() as inspector:
            for name, picture in contact_sheets(store, inspector, result.takes):
                _add(folder, arriving, result, name, picture)
    except UnavailableError:
        raise
    except DailiesError as error:
        result.problems.append(f"the contact sheet was not made: {error}")


def _add(folder: ExportFolder, arriving: Path, result: Fetched, name: str, data: bytes) -> None:
    try:
        folder.add(arriving, name, data, replaces=True)
    except DailiesError as error:
        result.problems.append(str(error))
    else:
        result.extras.append(name)


def choose(ledger: Ledger, selectors: Sequence[str], declarations: Declarations, *, every: bool) -> Chosen:
    """Choose the takes to fetch.

    Args:
        selectors: Empty for every bought clip.
        every: Every delivered take instead of the circled one.

    Raises:
        ConfigurationError: No clip fits the selectors.
    """
    keys = _keys(ledger, selectors, declarations)
    chosen, takes = Chosen(" ".join(selectors) or "dailies"), takes_of(ledger, keys)
    for clip in keys:
        chosen_takes = wanted_takes(takes[clip], every=every)
        chosen.takes += chosen_takes.takes
        if chosen_takes.select is not None:
            chosen.selects.add(chosen_takes.select.attempt.id)
        if chosen_takes.left_out:
            chosen.left_out[clip] = chosen_takes.left_out
    return chosen


def _keys(ledger: Ledger, selectors: Sequence[str], declarations: Declarations) -> list[str]:
    """The chosen bought clips, in the order of the selectors, then by series, day, and place in the series' file."""
    today = dt.datetime.now(dt.UTC).date()
    keys: dict[str, tuple[int, str, str, int]] = {}
    places: dict[tuple[str, dt.date | None], dict[str, int]] = {}
    for place, selector in enumerate(selectors or [None]):
        for one in chosen_purchases(ledger, [selector] if selector else [], today=today):
            key, day = one.subject_key, date_in_key(one.subject_key)
            series = declarations.series.get(one.series)
            if (one.series, day) not in places:
                clips = series.clips(day) if series and series.dated == (day is not None) else []
                places[one.series, day] = {clip.key: number for number, clip in enumerate(clips)}
            number = places[one.series, day].get(key, LAST)
            keys.setdefault(key, (place, one.series, "" if day is None else day.isoformat(), number))
    if not keys:
        named = f"fits {' '.join(selectors)!r}" if selectors else "is in the ledger"
        raise ConfigurationError(f"no clip that was bought {named}; `dailies status --all` shows every clip")
    return sorted(keys, key=keys.__getitem__)


def declared_or_none(settings: Settings) -> Declarations:
    """The declarations; empty, with a warning, if they cannot be read."""
    try:
        return declarations_of(settings)
    except DailiesError as error:
        complain(f"the clips are in the order of their purchases: {error}")
        return Declarations()


def show(result: Fetched) -> None:
    """Print the number of fetched takes, and name those that are missing."""
    for clip, why in result.left_out.items():
        note(f"{clip}: {why}")
    for text in result.notes:
        note(text)
    for failed in result.failed:
        complain(f"take {failed.take.number} of {failed.take.attempt.clip}: {failed.why}")
    for problem in result.problems:
        complain(problem)
    copies = f", {counted(len(result.copies), 'marked copy')}" if result.copies else ""
    kept = sum(one.was_there for one in result.takes)
    tell(
        f"{counted(len(result.takes), 'take')} in {result.folder}: {len(result.takes) - kept} fetched, {kept} there before{copies}"
        f"{''.join(f', {name}' for name in result.extras)}"
    )


def document(result: Fetched) -> dict[str, Any]:
    """The result as JSON; files are relative to the folder."""
    return {
        "folder": str(result.folder),
        "takes": [
            {
                "clip": one.take.attempt.clip,
                "take": one.take.number,
                "attempt": one.take.attempt.id,
                "file": one.file,
                "sidecar": one.sidecar,
                "sha256": one.manifest.object.sha256,
                "size_bytes": one.manifest.object.size,
                "was_there": one.was_there,
            }
            for one in result.takes
        ],
        "copies": [
            {
                "clip": one.take.take.attempt.clip,
                "take": one.take.take.number,
                "file": one.file,
                "sha256": one.sha256,
                "original": one.take.file,
                "original_sha256": one.take.manifest.object.sha256,
                "signed": one.is_signed,
            }
            for one in result.copies
        ],
        "failed": [
            {"clip": one.take.attempt.clip, "take": one.take.number, "why": one.why} for one in result.failed
        ],
        "left_out": [{"clip": clip, "why": why} for clip, why in result.left_out.items()],
        "extras": result.extras,
        "problems": result.problems,
        "notes": result.notes,
    }
