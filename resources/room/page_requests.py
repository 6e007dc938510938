"""The room's answers to its page: clips, changes, verdicts, and retakes through the shop."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers

from resources.errors import DailiesError
from resources.ledger import waiting_finishes
from resources.ledger.approvals import Approval
from resources.ledger.finishes import Limits, order_finish
from resources.ledger.former_names import titles_by_every_name
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.takes import takes_of
from resources.ledger.verdicts import Verdict, VerdictWay, Word, judge
from resources.ledger.waiting_clips import waiting
from resources.ledger.yields import YieldBy, read_yield
from resources.plain import fit
from resources.production.acceptance import Acceptor
from resources.room.clip_filter import ClipFilter, Show, changed_clips, newest_entry, select_clips
from resources.room.documents import clip_document, judged_document, worth_document
from resources.room.finishes import AskedFinish, ordered_document
from resources.room.people import Doorkeeper, Person
from resources.room.selects import FilteredSelects
from resources.room.unmade import unmade_clips
from resources.room.verdict_keeper import VerdictKeeper
from resources.room.words import AskedWords, WordsRoom
from resources.series import Declarations
from resources.series.prompt_editor import PromptEditor
from resources.series.review_rules import ReviewRules, Right
from resources.storage.objects import ObjectStore

logger = logging.getLogger("dailies")


class Shop(Protocol):
    """Buys retakes, and prices finishes."""

    def offer(self, clip: str) -> dict[str, Any]:
        """The price of one more take, its caps, and why it is refused, if it is. Money in micro-dollars.

        Raises:
            DailiesError: The price cannot be determined.
        """

    def buy(self, approval: Approval, *, request: str) -> str:
        """Buy one more take if the declaration is still the one that was shown; returns the decision. A request that is sent twice buys once.

        Raises:
            DailiesError: Nothing was bought.
        """

    def offer_finish(self, draft: Attempt) -> dict[str, Any]:
        """The price of the finish of a draft, its caps, and why it is refused, if it is. Money in micro-dollars.

        Raises:
            DailiesError: The price cannot be determined.
        """

    def limits(self) -> Limits:
        """The declared caps and prices, read before the transaction that buys, since they may have to be fetched from the bucket.

        Raises:
            DailiesError: They cannot be read, or this host may not buy with them.
        """


@dataclass(frozen=True)
class RoomHouse:
    """The room's ledger, bucket, rules and shop."""

    ledger: Ledger
    store: ObjectStore
    rules: Callable[[], ReviewRules]
    """Reads the team's present rules."""
    titles: Callable[[], Mapping[str, str]]
    """Titles of series, by name."""
    shop: Shop | None
    """Buys takes; None if this room cannot buy."""
    scratch: Path
    """Folder for files in transfer."""
    declared: Callable[[], Declarations] | None = None
    """Reads the present declarations; None if clips without a take are not shown."""
    editor: PromptEditor | None = None
    """Edits words; None if this room cannot edit."""


class AskedVerdict(BaseModel):
    """A verdict as the page sends it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str
    clip: str = Field(max_length=128)
    take: str = Field(max_length=64)
    word: str
    reasons: list[str] = Field(default_factory=list, max_length=8)
    note: str = Field(default="", max_length=2_000)
    second: float | None = None
    seen: int | None = None
    by: str | None = Field(default=None, max_length=200)
    """The person who gave it, since it may have waited in a browser that another person uses now; None for the sender."""
    finish_micros: int | None = Field(default=None, ge=0)
    """The price of the finish that circling the draft orders; None if it orders none."""


class AskedRetake(BaseModel):
    """A retake as the page sends it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{7,63}$")
    clip: str = Field(max_length=128)
    order_fingerprint: str = Field(pattern=r"^[0-9a-f]{64}$")
    """The order that the person saw."""
    at_most_micros: int = Field(ge=0)
    """The price that the person saw."""


class NotAllowedError(DailiesError):
    """This person may not make this request."""


class AnotherPersonError(DailiesError):
    """A verdict that waited in a browser was sent by another person than the one who gave it."""


class Room:
    """Answers the page's requests. Its methods run in threads."""

    def __init__(self, house: RoomHouse, doorkeeper: Doorkeeper, keeper: VerdictKeeper) -> None:
        self._house = house
        self._doorkeeper = doorkeeper
        self._keeper = keeper

    # The requests of the page

    def clips(self, person: Person, query: Mapping[str, str]) -> dict[str, Any]:
        """The clips of the filter, newest first; `hidden` is the named clip if the filter leaves it out."""
        ledger, rules = self._house.ledger, self._house.rules()
        entry = newest_entry(ledger)
        clip_filter = self._filter(person, query)
        if clip_filter.show is Show.UNMADE:
            documents = self._unmade(clip_filter)
        else:
            documents = self._documents(select_clips(ledger, clip_filter))
        named = query.get("clip", "")[:128]
        return {
            "entry": entry,
            "clips": documents,
            "hidden": self._documents([named])
            if named and named not in {one["clip"] for one in documents}
            else [],
            "series": sorted(self._house.titles().items()),
            "me": {"name": person.name, "right": person.right.value},
            "reasons": [reason.model_dump() for reason in rules.reasons],
            "sells": self._house.shop is not None,
            "edits": self._house.editor is not None,
        }

    def changes(self, _person: Person, query: Mapping[str, str]) -> dict[str, Any]:
        """The clips that changed after an entry of the journal."""
        after = query.get("after", "0")
        entry, changed = changed_clips(self._house.ledger, int(after) if after.isdecimal() else 0)
        return {"entry": entry, "clips": self._documents(changed), "unstored": self._keeper.left}

    def selects(self, person: Person, query: Mapping[str, str]) -> dict[str, Any]:
        """The number and size of the filter's circled takes."""
        return FilteredSelects.of(self._house.ledger, self._filter(person, query)).document()

    def archive(self, person: Person, query: Mapping[str, str]) -> tuple[str, Iterator[bytes]]:
        """The filter's circled takes as a ZIP archive: its file's name, and its pieces."""
        selects = FilteredSelects.of(self._house.ledger, self._filter(person, query))
        return f"{selects.name}.zip", selects.pieces(self._house.store, self._house.scratch)

    def worth(self, _person: Person, query: Mapping[str, str]) -> dict[str, Any]:
        """The yield by series; for a chosen series also by model, if it has several."""
        series = query.get("series") or None
        lines = read_yield(self._house.ledger, YieldBy.MODEL if series else YieldBy.SERIES, series=series)
        if series and len(lines) > 1:
            # drafts are bought from one model and finished by another
            lines = [*read_yield(self._house.ledger, YieldBy.SERIES, series=series), *lines]
        titles = self._titles()
        return {"lines": [worth_document(line, titles) for line in lines]}

    def judge(self, person: Person, asked_verdict: AskedVerdict) -> dict[str, Any]:
        """Record a verdict."""
        if asked_verdict.by not in {None, person.name}:
            raise AnotherPersonError(
                f"{asked_verdict.by} gave this verdict, and {person.name} uses this browser now. It waits here until {asked_verdict.by} comes back."
            )
        self._require(person, Right.JUDGE)
        ledger = self._house.ledger
        if asked_verdict.word not in set(Word):
            raise NotAllowedError(f"there is no verdict {asked_verdict.word[:40]!r}")
        verdict = Verdict(
            id=asked_verdict.id,
            take=asked_verdict.take,
            word=Word(asked_verdict.word),
            who=person.name,
            way=VerdictWay.ROOM,
            reasons=self._house.rules().check_reasons(asked_verdict.reasons),
            note=fit(asked_verdict.note),
            second=asked_verdict.second,
        )
        attempt = ledger.attempts([asked_verdict.take]).get(asked_verdict.take)
        if attempt is None:
            raise NotAllowedError(
                "this take is not in the room's ledger, which may be another one since the page was opened. Nothing was changed; reload "
                "the page"
            )
        acceptor, ordered = Acceptor(ledger, self._house.store, self._house.scratch), None
        # the verdict of a person who may not buy still counts: the finish waits for somebody who may
        shop = self._house.shop if person.right.includes(Right.BUY) else None
        buys = asked_verdict.finish_micros is not None and verdict.word is Word.CIRCLED
        if buys and shop is not None:
            judged, ordered = acceptor.circle_and_finish(
                attempt,
                verdict,
                at_most_micros=asked_verdict.finish_micros or 0,
                seen=asked_verdict.seen,
                limits=shop.limits(),
            )
        elif verdict.word is Word.CIRCLED:
            judged = acceptor.circle(attempt, verdict, seen=asked_verdict.seen)
        else:
            judged = judge(ledger, verdict, seen=asked_verdict.seen)
        self._keeper.wake()
        (document,) = self._documents([judged.recorded.clip])
        return {"clip": document, **judged_document(judged), "ordered": ordered_document(ordered)}

    def offer_finish(self, person: Person, query: Mapping[str, str]) -> dict[str, Any]:
        """The price of a draft's finish."""
        shop, named = self._shop(person), query.get("take", "")[:64]
        draft = self._house.ledger.attempts([named]).get(named)
        if draft is None or not draft.is_draft:
            raise NotAllowedError("there is no such draft")
        return shop.offer_finish(draft)

    def finish(self, person: Person, finish: AskedFinish) -> dict[str, Any]:
        """Order the finish of a draft that is circled already."""
        limits = self._shop(person).limits()
        ordered = order_finish(
            self._house.ledger,
            finish.clip,
            decision=finish.decision,
            at_most_micros=finish.at_most_micros,
            who=person.name,
            limits=limits,
        )
        return ordered_document(ordered) or {}

    def offer(self, person: Person, query: Mapping[str, str]) -> dict[str, Any]:
        """The price of a retake."""
        return self._shop(person).offer(query.get("clip", "")[:128])

    def retake(self, person: Person, retake: AskedRetake) -> dict[str, Any]:
        """Buy one more take."""
        approval = Approval(retake.clip, retake.order_fingerprint, retake.at_most_micros)
        decision = self._shop(person).buy(approval, request=retake.id)
        logger.info("%s asked for a retake of %s: %s", person.name, retake.clip, decision)
        return {"decision": decision}

    def words(self, person: Person, query: Mapping[str, str]) -> dict[str, Any]:
        """The words of a clip, for a person who edits them."""
        return self._words(person).look(query.get("clip", "")[:128])

    def preview(self, person: Person, edit: AskedWords) -> dict[str, Any]:
        """The request with other words. Keeps and buys nothing."""
        return self._words(person).preview(edit)

    def keep_words(self, person: Person, edit: AskedWords) -> dict[str, Any]:
        """Keep other words for a clip."""
        return self._words(person).keep(person, edit)

    def person_of(self, headers: Headers) -> Person:
        """The person of a request.

        Raises:
            NotAllowedError: The proxy named nobody.
        """
        person = self._doorkeeper.person_of(headers)
        if person is None:
            raise NotAllowedError(
                "the proxy before the room named no user, or more than one; use the room through it"
            )
        return person

    def _require(self, person: Person, right: Right) -> None:
        if not person.right.includes(right):
            raise NotAllowedError(
                f"{person.name} may {person.right.value} here, and this needs the right to {right.value}: whoever keeps data/review.yaml "
                "can give it. Nothing was changed."
            )

    def _shop(self, person: Person) -> Shop:
        self._require(person, Right.BUY)
        if self._house.shop is None:
            raise NotAllowedError("nothing can be bought from here: this room runs without Dagster")
        return self._house.shop

    def _words(self, person: Person) -> WordsRoom:
        # schedules buy with these words, so editing needs the right to buy
        self._require(person, Right.BUY)
        if self._house.editor is None:
            raise NotAllowedError("no words can be changed from here")
        return WordsRoom(self._house.editor, self._house.ledger)

    def _filter(self, person: Person, query: Mapping[str, str]) -> ClipFilter:
        show = query.get("show", Show.WAITING.value)
        ledger, day = self._house.ledger, query.get("day")
        return ClipFilter(
            show=Show(show) if show in set(Show) else Show.WAITING,
            series=query.get("series") or None,
            day=ledger.budget.day(ledger.clock()) if day == "today" else day or None,
            text=query.get("q", "").strip()[:100],
            judged_by=person.name if query.get("mine") else None,
        )

    def _unmade(self, clip_filter: ClipFilter) -> list[dict[str, Any]]:
        if self._house.declared is None:
            return []
        ledger, titles = self._house.ledger, self._titles()
        unmade = unmade_clips(ledger, self._house.declared(), clip_filter, now=ledger.clock())
        return [clip_document(takes, titles, series=clip.series) for clip, takes in unmade]

    def _titles(self) -> Mapping[str, str]:
        with self._house.ledger.read() as connection:
            return titles_by_every_name(connection, self._house.titles())

    def _documents(self, clips: list[str]) -> list[dict[str, Any]]:
        by_clip = takes_of(self._house.ledger, clips)
        titles = self._titles()
        reviews = {one.clip: one for one in waiting(self._house.ledger)} if by_clip else {}
        with self._house.ledger.read() as connection:
            waits = {one.clip: one for one in waiting_finishes.waiting(connection)} if by_clip else {}
        return [
            clip_document(by_clip[clip], titles, reviews.get(clip), waits.get(clip))
            for clip in clips
            if clip in by_clip
        ]
