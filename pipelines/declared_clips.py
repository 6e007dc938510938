"""The sensor `declared_clips`: it follows the data folder, and finds the clips whose declared prompt Dagster does not show.

Only undated clips and clips from today on are rendered again. One edited word in a dated series of three years used to render its
whole past: 2,200 runs in the queue of the runs that buy. `dailies declare --past` renders the past on request.
"""

import dataclasses
import datetime as dt
import hashlib
import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

import dagster as dg

from pipelines.followed_schedules import FollowedFiles
from pipelines.jobs import render_prompts
from pipelines.lineage import PROMPTS, data_versions, storage_ids
from pipelines.partitions import add_characters, add_clips, range_tags, stretches
from pipelines.rendered_clips import render
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.series import Declarations, Series

DECLARED_SECONDS = 15
BUDGET_SECONDS = 1.0
"""CPU seconds in which a tick compares clips; the next tick continues."""
LOOKED_UP_AT_ONCE = 5_000
"""Clips in one query: SQLite takes at most 32,766 variables."""
RENDERED_PER_RUN = 500
"""Clips in a run that only renders; nothing is paid for twice when its worker dies."""
RENDER_TAGS = {"dagster/priority": "-10", "dailies/renders": "declared"}
"""Tags of such a run: the queue starts runs that buy first, and at most one of these at a time (dagster.yaml)."""

NOTHING_CHANGED = "nothing in the data folder has changed"

_followed = FollowedFiles()
_DATE_IN_KEY = re.compile(r"-([0-9]{4}-[0-9]{2}-[0-9]{2})-")


@dg.sensor(
    name="declared_clips",
    job=render_prompts,
    minimum_interval_seconds=DECLARED_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Watches the data folder: adds the clips of new undated series to the partitions, and renders changed prompts of "
        "undated clips and of clips from today on, so that Dagster shows which are stale. Costs nothing."
    ),
)
def declared_clips(
    context: dg.SensorEvaluationContext, production: Production
) -> dg.SensorResult | dg.SkipReason:
    """Add new clips, and request runs that render changed prompts."""
    try:
        files = _digests(production)
        before = DataCursor.read(context.cursor)
        is_seen = files == before.files and before.upto is None
        if is_seen and files == _followed.files:
            schedule_text = _followed.follow(context, production, files, None)
            return dg.SkipReason("; ".join(filter(None, [NOTHING_CHANGED, schedule_text])))
        declarations = production.declarations()
        schedule_text = _followed.follow(context, production, files, declarations)
        if is_seen:
            return dg.SkipReason("; ".join(filter(None, [NOTHING_CHANGED, schedule_text])))
        for problem in declarations.problems:
            context.log.error(str(problem))
        with production.ledger() as ledger:
            add_characters(context.instance, declarations.characters.found)
            undated = [c.key for s in declarations.series.values() if not s.dated for c in s.clips()]
            order = add_clips(context.instance, ledger, undated)
    except DailiesError as error:
        return dg.SkipReason(str(error))
    keys = clips_to_compare(order, _edited_series(declarations, before.changed_in(files)))
    edited = find_edited_clips(
        context.instance,
        declarations,
        keys,
        after=before.upto if files == before.toward else None,
        seconds=BUDGET_SECONDS,
    )
    requests = [
        dg.RunRequest(
            run_key=_run_key(files, stretch, edited.changed), tags={**range_tags(stretch), **RENDER_TAGS}
        )
        for stretch in stretches(order, edited.changed, longest=RENDERED_PER_RUN)
    ]
    broken = tuple(f"series/{p.file.name}" for p in declarations.problems if p.file is not None)
    cursor = (
        DataCursor(files, broken=broken)
        if edited.upto is None
        else DataCursor(before.files, files, edited.upto, broken)
    )
    missing = (
        "" if edited.upto is None else f"; clips back to {edited.upto} are done, the next tick continues"
    )
    reason = (
        f"the data folder has changed, but no prompt has ({len(declarations.problems)} problems){missing}"
        f"{'; ' if schedule_text else ''}{schedule_text}"
    )
    return dg.SensorResult(
        run_requests=requests,
        cursor=cursor.written(),
        skip_reason=None if requests else dg.SkipReason(reason),
    )


def has_work(production: Production, cursor: str | None) -> bool:
    """Whether the data folder has changed since the last tick, or a comparison is not finished."""
    before = DataCursor.read(cursor)
    return before.upto is not None or _digests(production) != before.files


@dataclass(frozen=True)
class DataCursor:
    """How far the data folder was processed."""

    files: dict[str, str] = field(default_factory=dict)
    """Digest by file, when all clips were last compared."""
    toward: dict[str, str] | None = None
    """Digest by file of a comparison that is not finished."""
    upto: str | None = None
    """The last clip that this comparison has processed."""
    broken: tuple[str, ...] = ()
    """Files with mistakes. They count as edited with every edit, since an edit elsewhere may correct them."""

    @classmethod
    def read(cls, cursor: str | None) -> "DataCursor":
        """Read a cursor; an unreadable one counts as empty."""
        try:
            document = json.loads(cursor or "{}")
            return cls(
                dict(document["files"]),
                None if document["toward"] is None else dict(document["toward"]),
                document["upto"],
                tuple(document["broken"]),
            )
        except (ValueError, TypeError, KeyError):
            return cls()

    def written(self) -> str:
        """The text of the cursor."""
        return json.dumps(dataclasses.asdict(self))

    def changed_in(self, files: Mapping[str, str]) -> set[str]:
        """The files with another digest than in an earlier comparison, finished or not, and those with mistakes."""
        earlier = [self.files] if self.toward is None else [self.files, self.toward]
        return {file for digests in earlier for file, _ in digests.items() ^ files.items()} | {*self.broken}


@dataclass
class EditedClips:
    """The result of a comparison."""

    changed: dict[str, int] = field(default_factory=dict)
    """Clips to render, each with the storage id of the event that shows it now; 0 without one."""
    upto: str | None = None
    """The last clip that was compared before the time was over; None if all were."""


def clips_to_compare(order: Sequence[str], series: Collection[Series], *, past: bool = False) -> list[str]:
    """The partitions of these series that an edit may change, newest first.

    Args:
        order: All partitions in Dagster's order.
        series: The series that were edited.
        past: Whether to include clips from before today.
    """
    undated = {clip.key for one in series if not one.dated for clip in one.clips()}
    first_day = {one.name: "" if past else _today(one).isoformat() for one in series if one.dated}
    keys = []
    for key in reversed(order):
        if key in undated:
            keys.append(key)
        elif (match := _DATE_IN_KEY.search(key)) is not None:
            first = first_day.get(key[: match.start()])
            if first is not None and match[1] >= first:
                keys.append(key)
    return keys


def date_of(key: str) -> str | None:
    """The date in a clip's key, `YYYY-MM-DD`; None if the clip has none."""
    match = _DATE_IN_KEY.search(key)
    return None if match is None else match[1]


def find_edited_clips(
    instance: dg.DagsterInstance,
    declarations: Declarations,
    keys: Sequence[str],
    *,
    after: str | None = None,
    seconds: float = float("inf"),
) -> EditedClips:
    """Find the clips whose prompt Dagster does not show: edited ones, and undated ones that were never rendered.

    Args:
        declarations: The declarations, which render the clips.
        keys: The clips to compare, in this order.
        after: Continue after this clip.
        seconds: CPU seconds after which it stops early.
    """
    edited = EditedClips()
    give_up = time.thread_time() + seconds
    rest = keys[keys.index(after) + 1 :] if after in keys else keys
    for some in _cut(rest, LOOKED_UP_AT_ONCE):
        shown = data_versions(instance, PROMPTS, some)
        changed = []
        for key in some:
            for request in render(declarations, [key]).requests.values():
                # a dated clip without a prompt was added by a run that renders it
                known = key in shown or date_of(key) is None
                if known and shown.get(key) != request.fingerprint:
                    changed.append(key)
            if time.thread_time() > give_up and key != rest[-1]:
                edited.upto = key
                break
        events = storage_ids(instance, PROMPTS, changed)
        edited.changed |= {key: events.get(key, 0) for key in changed}
        if edited.upto is not None:
            break
    return edited


def _edited_series(declarations: Declarations, files: Collection[str]) -> list[Series]:
    """The series whose clips may have changed with these files: all series, if one of the files is not a series' own."""
    series = list(declarations.series.values())
    if any(not file.startswith(("series/", "edits/")) for file in files):
        return series
    return [
        one
        for one in series
        if f"series/{one.document.file.name}" in files or f"edits/{one.name}.yaml" in files
    ]


def _today(series: Series) -> dt.date:
    zone = ZoneInfo(series.schedule.timezone) if series.schedule else dt.UTC
    return dt.datetime.now(zone).date()


def _cut(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))


def _run_key(files: dict[str, str], stretch: list[str], shown: dict[str, int]) -> str:
    """A key that is new for every change, even for one that undoes another, since Dagster never accepts a key twice."""
    content = json.dumps([files, [(key, shown[key]) for key in stretch]], sort_keys=True)
    return f"prompts:{stretch[0]}:{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def _digests(production: Production) -> dict[str, str]:
    data, _ = production.checked_data()
    folders = ("series", "edits", "prompts", "characters", "models", "accounts")
    files = sorted(file for folder in folders for file in data.glob(f"{folder}/*.y*ml"))
    digests = {
        str(file.relative_to(data)): hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files
    }
    if any(file.startswith("characters/") for file in digests):
        # a new version of a character changes the prompts that show it
        digests |= {f"character {name}": made.id for name, made in production.characters().items()}
    return digests
