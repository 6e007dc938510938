"""`dailies takes`, `circle`, `reject`, `take-back`: the takes of a clip, and a person's verdict on one."""

import getpass
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.cli.bucket import bucket_of
from pipelines.cli.clip_table import as_document, spelling_hint
from pipelines.cli.terminal import age, complain, table_of
from resources.errors import ConfigurationError
from resources.ledger.finishes import FinishOrdered
from resources.ledger.ledger import Ledger
from resources.ledger.newest import has_bought
from resources.ledger.takes import ClipTakes, Take, takes_of
from resources.ledger.verdicts import Judged, RecordedVerdict, Verdict, VerdictWay, Word, judge
from resources.money import show_usd
from resources.production.acceptance import Acceptor
from resources.production.bucket_mark import bind_bucket
from resources.production.verdict_objects import store_verdicts
from resources.series.review_rules import load_review_rules
from resources.settings import Settings, open_ledger


def read_takes(settings: Settings, clip: str) -> ClipTakes:
    """The takes of a clip.

    Raises:
        ConfigurationError: It was never bought, or it is a series.
    """
    with open_ledger(settings) as ledger:
        return _takes_in(ledger, clip)


def _takes_in(ledger: Ledger, clip: str) -> ClipTakes:
    takes = takes_of(ledger, [clip]).get(clip)
    if takes is not None:
        return takes
    if has_bought(ledger, clip):
        raise ConfigurationError(
            f"{clip} is a series; `dailies status {clip}` lists its clips, and each has takes"
        )
    raise ConfigurationError(f"{clip} was never bought, so it has no takes; {spelling_hint(ledger, clip)}")


@dataclass(frozen=True)
class GivenVerdict:
    """A verdict that was given, and its result."""

    found: ClipTakes
    """The clip's takes afterwards."""
    judged: Judged
    ordered: FinishOrdered | None = None
    """The order of the finish of a circled draft."""


@dataclass(frozen=True)
class TypedVerdict:
    """A verdict as a person types it."""

    clip: str
    take: str | None
    """A take by its number or the beginning of its id; None for the only one."""
    word: Word
    reasons: Sequence[str] = ()
    """Names from `data/review.yaml`."""
    note: str = ""


def give_verdict(
    settings: Settings, typed: TypedVerdict, *, finish: bool = False, yes: bool = False
) -> GivenVerdict:
    """Record a verdict of the user who runs the command, and store it in the bucket.

    Args:
        finish: Whether the circle of a draft buys its finish.
        yes: Whether the person has agreed to the price already.

    Raises:
        typer.Exit: The person does not agree to the price, or no terminal can ask. Nothing was changed.
        DailiesError: There is no such take or reason, a rejection has no reason, the take cannot get this verdict, or the ledger or the
            bucket does not answer.
    """
    rules = load_review_rules(settings.data)
    given, word = rules.check_reasons(typed.reasons), typed.word
    if word is Word.REJECTED and not given and not typed.note:
        # `dailies yield` counts reasons, so a rejection needs one
        raise ConfigurationError(
            f"say why: `--reason` with {rules.listing}; or `--note` in your own words. Nothing was changed."
        )
    scratch = settings.home.absolute() / "tmp"
    with bucket_of(settings) as bucket, open_ledger(settings) as ledger:
        bind_bucket(ledger, bucket.store, buying=False)
        take = _takes_in(ledger, typed.clip).find(typed.take)
        verdict = Verdict(
            id=uuid.uuid4().hex,
            take=take.attempt.id,
            word=word,
            who=getpass.getuser(),
            way=VerdictWay.TERMINAL,
            reasons=given,
            note=typed.note,
        )
        acceptor, ordered = Acceptor(ledger, bucket.store, scratch), None
        if word is Word.CIRCLED:
            scratch.mkdir(parents=True, exist_ok=True)
        if word is Word.CIRCLED and take.attempt.is_draft and finish:
            from pipelines.cli.finishes import price_of_circle

            at_most, limits = price_of_circle(ledger, settings, take.attempt, yes=yes)
            judged, ordered = acceptor.circle_and_finish(
                take.attempt, verdict, at_most_micros=at_most, limits=limits
            )
        elif word is Word.CIRCLED:
            judged = acceptor.circle(take.attempt, verdict)
        else:
            judged = judge(ledger, verdict)
        if left := store_verdicts(ledger, bucket.store):
            complain(f"{left} verdicts are in the ledger and not in the bucket yet; the next one stores them")
        return GivenVerdict(takes_of(ledger, [typed.clip])[typed.clip], judged, ordered)


def outcome(judgement: GivenVerdict) -> str:
    """The result of a verdict, in a sentence."""
    found, judged = judgement.found, judgement.judged
    number = {take.attempt.id: take.number for take in found.takes}
    verdict = judged.recorded.verdict
    sentence = f"take {number[verdict.take]} of {found.clip}: {verdict.word.replace('_', ' ')}"
    if judged.replaced is not None:
        before = judged.replaced.verdict
        sentence += f", instead of take {number.get(before.take, '?')}, which {before.who} had circled"
    shown = next((take for take in found.takes if take.is_current), None)
    if shown is not None and shown.is_rejected:
        sentence += f". Every take is rejected, so take {shown.number} stays current; `dailies retake {found.clip}` makes another"
    elif shown is not None:
        sentence += f". Current: take {shown.number}"
    finish = next((one for one in found.open if one.finishes == verdict.take), None)
    if finish is not None and verdict.word is not Word.CIRCLED:
        sentence += f". Its finish is bought for {show_usd(finish.cost_micros)} and goes on; it waits for a verdict like any take"
    if judgement.ordered is not None:
        from pipelines.cli.finishes import ordered_words

        return f"{sentence}\n{ordered_words(judgement.ordered)}"
    circled = next((take for take in found.takes if take.is_circled), None)
    if verdict.word is Word.CIRCLED and circled is not None and circled.attempt.is_draft:
        return f"{sentence}. It is a draft: `dailies finish {found.clip}` buys its finish"
    return sentence


def table(takes: ClipTakes, *, now: float) -> Table:
    """One line per take; the model has a column if takes differ in it."""
    heads = ["take", "id", "verdict", "who", "state", "model", "age", "cost", "note"]
    if one_model(takes) is not None:
        heads.remove("model")
    made = table_of(*heads, right={"take", "age", "cost"}, wraps={"verdict", "note"})
    for take in takes.takes:
        attempt, verdict = take.attempt, take.verdict.verdict if take.verdict else None
        made.add_row(
            f"{take.number}{'*' if take.is_current else ''}",
            attempt.id[:8],
            Text(_verdict(take), style="green" if take.is_circled else "red" if take.is_rejected else "dim"),
            Text(verdict.who if verdict else ""),
            _state(takes, take),
            *([Text(_model(take))] if "model" in heads else []),
            age(now - (attempt.finished_at or attempt.created_at)),
            show_usd(attempt.cost_micros),
            Text(_notes(take) or attempt.reason or ""),
        )
    return made


def _state(takes: ClipTakes, take: Take) -> str:
    attempt = take.attempt
    if attempt.is_spare:
        return "spare"
    of = next((other.number for other in takes.takes if other.attempt.id == attempt.finishes), None)
    part = " draft" if attempt.is_draft else "" if attempt.finishes is None else f" finish of {of or '?'}"
    return f"{attempt.state.value}{part}"


def one_model(takes: ClipTakes) -> str | None:
    """The model that made all takes; None if several did."""
    models = {_model(take) for take in takes.takes}
    return models.pop() if len(models) == 1 else None


def document(takes: ClipTakes) -> dict[str, Any]:
    """The same content as JSON."""
    return {
        "clip": takes.clip,
        "takes": [
            {
                **as_document(take.attempt),
                "clip": takes.clip,
                "take": take.number,
                "is_current": take.is_current,
                "is_spare": take.attempt.is_spare,
                "is_draft": take.attempt.is_draft,
                "finishes": take.attempt.finishes,
                "verdict": None if take.verdict is None else verdict_document(take.verdict),
                "notes": [verdict_document(one) for one in take.notes],
                "checks": (take.attempt.delivery or {}).get("checks", {}),
            }
            for take in takes.takes
        ],
        "on_its_way": [as_document(attempt) for attempt in takes.open],
    }


def verdict_document(one: RecordedVerdict) -> dict[str, Any]:
    """A verdict for machines."""
    verdict = one.verdict
    return {
        "id": verdict.id,
        "take": verdict.take,
        "word": verdict.word.value,
        "reasons": list(verdict.reasons),
        "note": verdict.note,
        "second": verdict.second,
        "who": verdict.who,
        "way": verdict.way.value,
        "at": one.at,
    }


def _model(take: Take) -> str:
    return take.attempt.served_model or take.attempt.endpoint


def _verdict(take: Take) -> str:
    if take.verdict is None:
        return "-"
    text = take.verdict.verdict
    return text.word.value + (f": {', '.join(text.reasons)}" if text.reasons else "")


def _notes(take: Take) -> str:
    verdicts = [*([take.verdict] if take.verdict else []), *take.notes]
    moments = [
        ("" if v.verdict.second is None else f"{v.verdict.second:.1f} s: ", v.verdict.note) for v in verdicts
    ]
    return "; ".join(f"{moment}{note}" for moment, note in moments if note)
