"""The card of one clip in the gallery, read from the ledger."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from resources.dagster_names import asset_page
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, take_verdicts
from resources.ledger.states import AttemptState
from resources.ledger.takes import Take, takes_of
from resources.plain import shown
from resources.storage.layout import QUARANTINE, poster_key, quarantined, video_key
from resources.video.credentials import stored_credentials

NEWEST = 2_000
"""Most clips on one page; a browser needs about a second for them."""


_DATE = re.compile(r"^\d{4}-\d{2}-\d{2}-?", re.ASCII)


class Group(StrEnum):
    """States that a person distinguishes at a glance."""

    DELIVERED = "delivered"
    WAITING = "on its way"
    QUARANTINED = "quarantined"
    UNCLEAR = "unclear"
    FAILED = "failed"

    @classmethod
    def of(cls, state: AttemptState) -> "Group":
        """The standing of an attempt's state."""
        match state:
            case AttemptState.DELIVERED:
                return cls.DELIVERED
            case AttemptState.QUARANTINED:
                return cls.QUARANTINED
            case AttemptState.UNKNOWN | AttemptState.HELD:
                return cls.UNCLEAR
            case _:
                return cls.WAITING if state.is_open else cls.FAILED


@dataclass(frozen=True)
class ShownCheck:
    """The result of one check of the file."""

    name: str
    """E.g. `black`."""
    outcome: str
    """`passed`, `warned` or `failed`."""
    detail: str = ""
    """One sentence, or nothing."""


@dataclass(frozen=True)
class ShownTake:
    """One of several takes of a clip, or one that a person has judged."""

    number: int
    """Its place among the clip's takes, from 1."""
    video: str
    """Key of its video."""
    word: str = ""
    """`circled` or `rejected`; empty without a valid verdict."""
    said: str = ""
    """Author and reason of the verdict."""
    is_current: bool = False
    """Whether it is the clip's current take."""
    is_draft: bool = False
    """Whether it is a draft."""


@dataclass(frozen=True)
class Card:
    """One clip for a page. Strangers' text is cleaned but not escaped."""

    clip: str
    """Its key."""
    series: str
    """Whose."""
    group: Group
    """Its state at a glance."""
    state: str
    """Its state in the ledger."""
    day: str
    """The day that it counts for, `YYYY-MM-DD`."""
    prompt: str
    """The prompt that was sent."""
    asked: str
    """The ordered model."""
    bought: str
    """The bought model, which differs for a fallback."""
    served: str | None
    """The model that the provider reports, None if it reports none."""
    cost_micros: int
    """Cost of the shown take, in micro-dollars."""
    spent_micros: int
    """Cost of all takes, in micro-dollars."""
    takes: int
    """The number of purchases."""
    reason: str
    """Why it is not delivered; empty if it is."""
    video: str | None = None
    """Key of the video, None if there is none."""
    poster: str | None = None
    """Key of its poster."""
    strip: str | None = None
    """Key of a strip of its frames."""
    facts: str = ""
    """Size, duration and sound as text."""
    checks: list[ShownCheck] = field(default_factory=list)
    """Results of the checks."""
    accepted: str = ""
    """Who accepted a video that failed a check, and why; empty if it was not accepted."""
    waited_seconds: float | None = None
    """Seconds from the submit to the end of the job."""
    is_older_take: bool = False
    """Whether the video is an older take, because the newest is not delivered."""
    is_draft: bool = False
    """Whether the video is a draft."""
    versions: list[ShownTake] = field(default_factory=list)
    """The clip's takes, if there are several or a person has judged one."""
    asset: str = "uploaded_videos"
    """The Dagster asset for its link."""

    @property
    def name(self) -> str:
        """Its key without series and date."""
        name = _DATE.sub("", self.clip.removeprefix(f"{self.series}-"))
        return name.replace("-", " ") or self.clip

    @property
    def word(self) -> str:
        """`circled`; `rejected` if every take is; otherwise empty."""
        words = [take.word for take in self.versions]
        if "circled" in words:
            return "circled"
        return "rejected" if words and all(word == "rejected" for word in words) else ""

    @property
    def is_substituted(self) -> bool:
        """Whether the provider reports another model than the bought one."""
        return self.served is not None and self.served.casefold() != self.bought.casefold()

    def dagster(self, url: str) -> str:
        """The clip's page in Dagster."""
        return (
            f"{url.rstrip('/')}{asset_page(self.asset)}?view=partitions&partition={quote(self.clip, safe='')}"
        )


def read_cards(ledger: Ledger, *, series: str | None = None, newest: int = NEWEST) -> list[Card]:
    """The most recently bought clips, newest first.

    Args:
        series: Only clips of this series.
        newest: Most clips to return.
    """
    counted = _counted(ledger, series, newest)
    latest = ledger.latest([row.subject_key for row in counted])
    current = ledger.shown(list(latest))
    versions = _versions(ledger, counted)
    return [
        _card(
            latest[row.subject_key],
            current.get(row.subject_key),
            versions.get(row.subject_key, []),
            takes=row.takes,
            spent=row.spent,
        )
        for row in counted
        if row.subject_key in latest
    ]


def _versions(ledger: Ledger, counted: list["_Row"]) -> dict[str, list[ShownTake]]:
    """The takes of clips that have several or were judged, by clip."""
    with ledger.read() as connection:
        judged = set(connection.execute(sa.select(take_verdicts.c.clip)).scalars())
    clips = [row.subject_key for row in counted if row.takes > 1 or row.subject_key in judged]
    return {clip: [_version(take) for take in one.takes] for clip, one in takes_of(ledger, clips).items()}


def _version(take: Take) -> ShownTake:
    video, _, _ = _keys(take.attempt, take.attempt.delivery or {})
    verdict = take.verdict.verdict if take.verdict is not None else None
    why = [] if verdict is None else [f"by {verdict.who}", ", ".join(verdict.reasons), verdict.note]
    return ShownTake(
        take.number,
        video,
        "" if verdict is None else verdict.word.value,
        shown("; ".join(filter(None, why)), longest=300),
        take.is_current,
        take.attempt.is_draft,
    )


@dataclass(frozen=True)
class _Row:
    subject_key: str
    takes: int
    spent: int


def _counted(ledger: Ledger, series: str | None, newest: int) -> list[_Row]:
    cost = sa.case(
        (attempts.c.money_state.in_(["released", "refunded"]), 0),
        else_=sa.func.coalesce(attempts.c.charged_micros, attempts.c.quoted_micros),
    )
    query = (
        sa.select(attempts.c.subject_key, sa.func.count(), sa.func.sum(cost))
        .where(attempts.c.subject_kind == "clip")
        .group_by(attempts.c.subject_key)
        .order_by(sa.func.max(attempts.c.seq).desc())
        .limit(newest)
    )
    if series is not None:
        query = query.where(attempts.c.series == series)
    with ledger.read() as connection:
        return [_Row(str(row[0]), int(row[1]), int(row[2])) for row in connection.execute(query)]


def _card(
    newest: Attempt, current: Attempt | None, versions: list[ShownTake], *, takes: int, spent: int
) -> Card:
    if newest.state is AttemptState.DELIVERED and current is not None:
        # a person may have circled an earlier take
        newest = current
    group = Group.of(newest.state)
    kept = newest if newest.delivery is not None else current
    delivery = (kept.delivery if kept is not None else None) or {}
    video, poster, strip = _keys(kept, delivery) if kept is not None else (None, None, None)
    reason = "" if group is Group.DELIVERED else newest.reason or ""
    return Card(
        clip=newest.subject_key,
        series=newest.series,
        group=group,
        state=newest.state.value,
        day=newest.counted_on,
        prompt=shown(newest.request.prompt),
        asked=newest.request.asked.endpoint if newest.request.asked else newest.endpoint,
        bought=newest.endpoint,
        served=shown(newest.served_model, longest=128) or None,
        cost_micros=newest.cost_micros,
        spent_micros=spent,
        takes=takes,
        reason=shown(reason, longest=600),
        video=video,
        poster=poster,
        strip=strip,
        facts=facts_in_words(delivery),
        checks=_checks(newest, delivery if kept is newest else {}),
        accepted=shown(delivery.get("accepted"), longest=300),
        waited_seconds=newest.waited_seconds,
        is_older_take=kept is not None and kept is not newest,
        is_draft=kept is not None and kept.is_draft,
        versions=versions if len(versions) > 1 or any(one.word for one in versions) else [],
        asset=_asset(newest.state),
    )


def _keys(attempt: Attempt, delivery: dict[str, Any]) -> tuple[str, str | None, str | None]:
    """Keys of the video, its poster and its strip of frames."""
    video = str(delivery.get("key") or video_key(attempt.clip, attempt.id))
    poster = _key(delivery.get("poster_uri"))
    if poster is None and "poster_uri" not in delivery and delivery.get("video"):
        # earlier versions of dailies did not record it
        poster = poster_key(attempt.clip, attempt.id)
        poster = quarantined(poster) if video.startswith(QUARANTINE) else poster
    return video, poster, _key(delivery.get("strip_uri"))


def _key(uri: object) -> str | None:
    """The key of `s3://bucket/key`."""
    return str(uri).removeprefix("s3://").partition("/")[2] or None if uri else None


def facts_in_words(delivery: Mapping[str, Any]) -> str:
    """The measured facts of a delivered file, for a card: its frame, length, sound and credentials."""
    facts, words = delivery.get("video") or {}, []
    if facts.get("width") and facts.get("height"):
        words.append(f"{facts['width']}\N{MULTIPLICATION SIGN}{facts['height']}")
    if facts.get("duration"):
        words.append(f"{facts['duration']:.1f} s")
    if facts:
        words.append("sound" if facts.get("has_audio") else "no sound")
    credentials = stored_credentials(delivery)
    if credentials is not None and credentials.state != "absent":
        words.append(f"content credentials {credentials.state}")
    return ", ".join(words)


def _checks(attempt: Attempt, delivery: dict[str, Any]) -> list[ShownCheck]:
    """The results of checks in the ledger, without skipped ones."""
    outcomes = delivery.get("checks") or {}
    texts = {"failed": attempt.reason, "warned": "; ".join(map(str, delivery.get("warnings") or ()))}
    if not outcomes and delivery:
        # earlier versions of dailies only compared the file with the request
        outcomes = {"as requested": "failed" if attempt.state is AttemptState.QUARANTINED else "passed"}
    return [
        ShownCheck(shown(str(name), longest=60), str(outcome), shown(texts.get(str(outcome)), longest=300))
        for name, outcome in outcomes.items()
        if outcome != "skipped"
    ]


def _asset(state: AttemptState) -> str:
    match state:
        case AttemptState.DELIVERED | AttemptState.QUARANTINED | AttemptState.LOST | AttemptState.SUCCEEDED:
            return "uploaded_videos"
        case AttemptState.FAILED | AttemptState.VANISHED | AttemptState.SUBMITTED | AttemptState.OVERDUE:
            return "generations"
        case _:
            return "submissions"
