"""Clips and takes for the page: plain values without secrets. Text from outside is cleaned but not escaped."""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from resources.gallery.cards import facts_in_words
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.ledger.takes import ClipTakes, Take
from resources.ledger.verdicts import Judged, RecordedVerdict
from resources.ledger.waiting_clips import WaitingClip
from resources.ledger.waiting_finishes import WaitingFinish
from resources.ledger.yields import YieldLine
from resources.money import show_cents, show_usd
from resources.orders import shown_body
from resources.plain import shown
from resources.room.finishes import waiting_document
from resources.storage.layout import QUARANTINE, poster_key, quarantined, video_key

_WORDS = re.compile(r"\s+|\S+\s*")
_MOST_WORDS = 2_000
"""The longest prompt that is compared; longer ones are shown whole, since comparing would take seconds."""
_HIDDEN = frozenset({"prompt"})


def clip_document(
    takes: ClipTakes,
    titles: Mapping[str, str],
    review: WaitingClip | None = None,
    unfinished: WaitingFinish | None = None,
    *,
    series: str | None = None,
) -> dict[str, Any]:
    """One clip with its takes, for the page.

    Args:
        titles: Titles of series, by name.
        review: Its wait for a person, if its series asks for review.
        unfinished: Its circled draft, if that lacks a finish.
        series: Its series, if no take names it.
    """
    first = takes.takes[0].attempt if takes.takes else None
    series = takes.series or series or ""
    return {
        "clip": takes.clip,
        "name": takes.clip.removeprefix(f"{series}-"),
        "series": series,
        "title": titles.get(series, series),
        "day": takes.takes[-1].attempt.counted_on if takes.takes else "",
        "bought_at": first.created_at if first else None,
        "cost": show_usd(takes.spent),
        "takes": [
            _take(take, takes.takes[place - 1] if place else None) for place, take in enumerate(takes.takes)
        ],
        "on_its_way": [_on_its_way(attempt) for attempt in takes.open],
        "seen": takes.seen,
        "finish": waiting_document(unfinished),
        "review": None if review is None else _review(takes, review),
    }


_HOW_FAR = {
    AttemptState.QUEUED: "waits for its turn",
    AttemptState.SUBMITTING: "is being sent",
    AttemptState.UNKNOWN: "was sent and its answer was lost; dailies looks for it",
    AttemptState.HELD: "needs you: its answer was lost, and `dailies resolve` settles it",
    AttemptState.SUBMITTED: "is being made",
    AttemptState.OVERDUE: "is being made, longer than usual",
    AttemptState.SUCCEEDED: "is made and is fetched now",
}


def _on_its_way(attempt: Attempt) -> dict[str, Any]:
    """An open purchase, in a producer's words."""
    noun = "The finish" if attempt.finishes else "A draft" if attempt.is_draft else "A take"
    return {
        "text": f"{noun} {_HOW_FAR.get(attempt.state, 'is on its way')}",
        "finishes": attempt.finishes,
        "price": show_usd(attempt.cost_micros),
    }


def _review(takes: ClipTakes, review: WaitingClip) -> dict[str, Any]:
    """How long the clip waits for a person, and what happens then."""
    policies = [take.attempt.request.review for take in takes.takes if take.attempt.id == review.take]
    return {
        "decide_at": review.decide_at,
        "held_at": review.held_at,
        "otherwise": policies[0].otherwise if policies else None,
    }


def worth_document(line: YieldLine, titles: Mapping[str, str]) -> dict[str, Any]:
    """A line of the yield, for the page."""
    spent = show_cents(line.spent_micros)
    none = f"none of {spent}" if line.takes else f"{spent}, no take yet"
    return {
        "name": shown(titles.get(line.name, line.name), longest=128),
        "takes": line.takes,
        "circled": line.circled,
        "share": round(line.circled / line.takes, 3) if line.takes else 0,
        "each": show_cents(line.each_micros) if line.circled else none,
        "why": ", ".join(f"{reason} {number}" for reason, number in line.reasons.most_common(5)),
    }


def judged_document(judged: Judged) -> dict[str, Any]:
    """The result of a verdict, for the page."""
    return {
        "verdict": verdict_document(judged.recorded),
        "replaced": None if judged.replaced is None else verdict_document(judged.replaced),
        "others": [verdict_document(one) for one in judged.others],
    }


def verdict_document(one: RecordedVerdict) -> dict[str, Any]:
    """A verdict for the page."""
    verdict = one.verdict
    return {
        "id": verdict.id,
        "clip": one.clip,
        "take": verdict.take,
        "word": verdict.word.value,
        "reasons": list(verdict.reasons),
        "note": shown(verdict.note),
        "second": verdict.second,
        "who": shown(verdict.who, longest=200),
        "at": one.at,
    }


def _take(take: Take, before: Take | None) -> dict[str, Any]:
    attempt, delivery = take.attempt, take.attempt.delivery or {}
    video = str(delivery.get("key") or video_key(attempt.clip, attempt.id))
    poster = poster_key(attempt.clip, attempt.id)
    facts = delivery.get("video") or {}
    return {
        "id": attempt.id,
        "number": take.number,
        "is_current": take.is_current,
        "is_spare": attempt.is_spare,
        "is_draft": attempt.is_draft,
        "finishes": attempt.finishes,
        "in_quarantine": video.startswith(QUARANTINE),
        "reason": shown(attempt.reason, longest=600),
        "accepted": shown(delivery.get("accepted"), longest=300),
        "verdict": None if take.verdict is None else verdict_document(take.verdict),
        "notes": [verdict_document(one) for one in take.notes],
        "video": f"media/{video}",
        "poster": f"media/{quarantined(poster) if video.startswith(QUARANTINE) else poster}"
        if delivery.get("poster_uri")
        else None,
        "shape": _shape(facts),
        "facts": facts_in_words(delivery),
        "checks": _checks(attempt, delivery),
        "asked": attempt.request.asked.endpoint if attempt.request.asked else attempt.endpoint,
        "bought": attempt.endpoint,
        "served": shown(attempt.served_model, longest=128) or None,
        "provider": attempt.provider,
        "cost": show_usd(attempt.cost_micros),
        "at": attempt.finished_at or attempt.created_at,
        "waited": attempt.waited_seconds,
        "prompt": prompt_changes(before.attempt.request.prompt if before else None, attempt.request.prompt),
        "edited": None if attempt.request.edited is None else str(attempt.request.edited),
        "parameters": _parameters(attempt, before.attempt if before else None),
    }


def prompt_changes(before: str | None, now: str) -> list[list[str]]:
    """A prompt in parts, each marked `same`, `new` or `gone` compared with an earlier prompt."""
    after = shown(now, longest=20_000)
    if before is None:
        return [["same", after]]
    old, new = _WORDS.findall(shown(before, longest=20_000)), _WORDS.findall(after)
    if max(len(old), len(new)) > _MOST_WORDS:
        return [["same", after]]
    parts: list[list[str]] = []
    for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            parts.append(["same", "".join(new[c:d])])
            continue
        parts += [
            [kind, text] for kind, text in (("gone", "".join(old[a:b])), ("new", "".join(new[c:d]))) if text
        ]
    return parts


def _parameters(attempt: Attempt, before: Attempt | None) -> list[dict[str, Any]]:
    body, old = _plain(attempt), {} if before is None else _plain(before)
    return [
        {"name": name, "value": value, "before": old.get(name) if before and old.get(name) != value else None}
        for name, value in body.items()
    ]


def _plain(attempt: Attempt) -> dict[str, str]:
    body = shown_body(attempt.request.body)
    return {
        # in the notation of series and JSON
        shown(name, longest=60): shown(
            str(value).lower() if isinstance(value, bool) else str(value), longest=200
        )
        for name, value in body.items()
        if name not in _HIDDEN and value not in (None, "", [])
    }


def _shape(facts: Mapping[str, Any]) -> float:
    width, height = facts.get("width"), facts.get("height")
    return round(width / height, 4) if width and height else 1.7778


def _checks(attempt: Attempt, delivery: Mapping[str, Any]) -> list[dict[str, str]]:
    texts: Mapping[str, Any] = {
        "failed": attempt.reason,
        "warned": "; ".join(map(str, _texts(delivery.get("warnings")))),
    }
    return [
        {
            "name": shown(str(name), longest=60),
            "outcome": str(outcome),
            "detail": shown(texts.get(str(outcome)), longest=300),
        }
        for name, outcome in (delivery.get("checks") or {}).items()
        if outcome != "skipped"
    ]


def _texts(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()
