"""Readers for fields of providers' answers. They accept variants, trust nothing, and return only values that are safe to store.

Every reader accepts any value and raises nothing for it.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from resources import plain
from resources.money import usd
from resources.plain import without_queries
from resources.providers.base import FailureKind, JobStatus
from resources.spellings import Spellings

MESSAGE_LIMIT = 500
"""The longest message of a provider that is kept, in characters."""

STATUS_WORDS: Mapping[str, JobStatus] = {
    **dict.fromkeys(
        ("created", "queued", "pending", "submitted", "queueing", "preparing", "waiting", "starting"),
        JobStatus.QUEUED,
    ),
    **dict.fromkeys(("in_queue", "not_start"), JobStatus.QUEUED),
    **dict.fromkeys(
        ("processing", "generating", "in_progress", "running", "active", "dreaming"), JobStatus.RUNNING
    ),
    **dict.fromkeys(("completed", "succeeded", "succeed", "success", "finished"), JobStatus.SUCCEEDED),
    **dict.fromkeys(("failed", "fail", "error"), JobStatus.FAILED),
    **dict.fromkeys(("cancelled", "canceled", "aborted"), JobStatus.FAILED),
    **dict.fromkeys(("expired", "deleted"), JobStatus.GONE),
}
"""Known status words of jobs. Gateways pass on the words of the models behind them (contract table: status synonyms). Each
provider's client adds its own words."""

NO_FUNDS = re.compile(
    r"insufficient(?!\s+(?:permission|privilege|scope|role|access))|not (?:have )?enough credits?"
    r"|\bbalance\b|out of credits?|\bcredits? (?:limit|exhausted)|spend(?:ing)? limit",
    re.IGNORECASE,
)
"""Providers' texts for an account that cannot pay, for answers whose code does not say it."""

MODERATED = re.compile(
    r"moderat|flagged|content polic|usage polic|policy violation|safety (?:system|filter)|\bnsfw\b|prohibited content",
    re.IGNORECASE,
)
"""Providers' texts for refused content, for answers whose code does not say it."""

# from 2001 to 2286; eight digits are a date of ISO 8601
_EPOCH_MS = re.compile(r"[0-9]{13}", re.ASCII)
_LONGEST_URL = 8192
_LONGEST_WAIT = 900.0
_DEEPEST = 64
_MOST_DOLLARS = 10**9
"""The database can hold sums of a thousand such amounts in micro-dollars."""


class Scrubber:
    """Hides one account's key, in every spelling, in text that a provider may echo."""

    __slots__ = ("_spellings",)

    def __init__(self, secret: str) -> None:
        self._spellings = Spellings(secret)

    def __repr__(self) -> str:
        return "Scrubber(***)"

    def hide(self, text: str) -> str:
        """The text without the key, and without what a database cannot hold (lone surrogates, NUL)."""
        hidden = self._spellings.hide(text).replace("\x00", "")
        return hidden if hidden.isascii() else hidden.encode("utf-8", "replace").decode()

    def message(self, value: object, limit: int = MESSAGE_LIMIT) -> str:
        """One line for a person: no key, no URL query, no control characters, at most `limit` characters."""
        # cut first, since searching a megabyte of text takes too long
        text = " ".join(plain.legible(without_queries(self.hide(reason(value))[: limit * 20])).split())
        return text if len(text) <= limit else text[: limit - 1] + "…"

    def document(self, body: bytes) -> Any:
        """The parsed JSON of a body with the key hidden in every name and text; None if it cannot be parsed."""
        try:
            # NaN and infinity are not JSON, and no database stores them
            document = json.loads(body, parse_constant=lambda _: None, parse_float=_finite)
            return map_text(document, self.hide)
        except (ValueError, RecursionError):
            return None


def map_text(value: Any, change: Callable[[str], str], _depth: int = 0) -> Any:
    """A copy of a JSON value with every text and every name changed.

    Raises:
        ValueError: It is nested more than 64 deep, which no provider's answer is.
    """
    if _depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [map_text(item, change, _depth + 1) for item in value]
    if isinstance(value, dict):
        return {change(name): map_text(item, change, _depth + 1) for name, item in value.items()}
    return value


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def storable(document: Any) -> dict[str, Any]:
    """An answer that can be stored in the ledger or a manifest: signed URLs without their signature, no unfit characters."""
    kept = plain.addresses_cut(document)
    return kept if isinstance(kept, dict) else {"answer": kept}


def reason(value: object) -> str:
    """The text of an error in any of its known shapes: text, `{message}`, `{detail: [{msg}]}`, or a list of those."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for name in ("message", "error", "detail", "msg", "reason"):
            if text := reason(value.get(name)):
                return text
    if isinstance(value, list):
        return "; ".join(text for item in value[:5] if (text := reason(item)))
    return ""


def text_or_none(value: object) -> str | None:
    """The value if it is a text that is not empty, else None."""
    return value if isinstance(value, str) and value.strip() else None


def whole_number(value: object) -> int | None:
    """A code or status as a number, from a number or a text; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def amount(value: object) -> Decimal | None:
    """A price or count as an exact decimal; None if it is no plausible number, or negative."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,18})?", value):
        return None
    number = Decimal(str(value))
    return number if number.is_finite() and 0 <= number < 10**15 else None


def dollars(value: object) -> int | None:
    """An amount in US dollars as micro-dollars, None if it cannot be read."""
    number = amount(value)
    return None if number is None or number > _MOST_DOLLARS else usd(number)


def price(value: object) -> int | None:
    """A price on a bill as micro-dollars, None if it cannot be read.

    Bills show dollars now and showed whole micro-dollars earlier (WaveSpeed contract: money). A whole number from a thousand
    on is read as micro-dollars. The price is compared with the order before it is believed (`resources.ledger.disputes`).
    """
    number = amount(value)
    if number is not None and number >= 1000 and number == number.to_integral_value():
        return int(number)
    return dollars(value)


def milliseconds(at: datetime) -> str:
    """A moment as milliseconds since the epoch in text."""
    return str(round(at.timestamp() * 1000))


def seconds(milliseconds: object) -> float | None:
    """Milliseconds as seconds; None if the value is not a positive number. A job that has not started yet has 0."""
    number = amount(milliseconds)
    return float(number) / 1000 if number else None


def job_id(value: object) -> str | None:
    """A provider's id if it can be stored and used in a request: printable, no spaces, not only dots, up to 512 characters."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if 0 <= value < 10**30 else None
    if not isinstance(value, str) or not 0 < len(value) <= 512:
        return None
    return value if value.isprintable() and " " not in value and value.strip(".") else None


def moment(value: object) -> datetime | None:
    """A time as an aware UTC datetime: ISO 8601, or milliseconds since the epoch as number or text.

    Nanoseconds are cut to microseconds; no offset is read as UTC. WaveSpeed's pages write the bill's times as milliseconds
    in one place and as ISO in another (WaveSpeed contract: money).
    """
    try:
        if isinstance(value, int | str) and _EPOCH_MS.fullmatch(str(value)):
            return datetime.fromtimestamp(int(str(value)) / 1000, UTC)
        if not isinstance(value, str):
            return None
        read = datetime.fromisoformat(value.strip())
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def wait_seconds(headers: Mapping[str, str]) -> float | None:
    """`Retry-After` in seconds, at most a quarter of an hour; None if it is missing or unreadable.

    A date is compared with the answer's own `Date`, not with our clock.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", value):
        return min(float(value), _LONGEST_WAIT)
    until = http_date(value)
    if until is None:
        return None
    now = http_date(headers.get("date", "")) or datetime.now(UTC)
    return min(max((until - now).total_seconds(), 0.0), _LONGEST_WAIT)


def http_date(value: str) -> datetime | None:
    """An HTTP date as an aware UTC datetime, None if it is no date."""
    try:
        read = parsedate_to_datetime(value)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def media_urls(value: object) -> tuple[str, ...]:
    """Every http(s) URL in an output field: a text, `{url}`, `{video: {url}}` or a list of those, in order."""
    items = value if isinstance(value, list) else [value]
    return tuple(url for item in items if (url := _media_url(item)) is not None)


def output_ids(value: object) -> tuple[str, ...]:
    """The ids of outputs that are not media, e.g. the character of `[{"id": "char_…", "name": "Joe"}]`."""
    items = value if isinstance(value, list) else [value]
    return tuple(job for item in items if isinstance(item, dict) and (job := job_id(item.get("id"))))


def _media_url(value: object, depth: int = 0) -> str | None:
    if isinstance(value, dict) and depth < 3:
        urls = (_media_url(value.get(name), depth + 1) for name in ("url", "video_url", "video"))
        return next((url for url in urls if url), None)
    if not isinstance(value, str) or len(value) > _LONGEST_URL or not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme in {"http", "https"} and parts.hostname else None


def normal_status(word: object, words: Mapping[str, JobStatus]) -> JobStatus | None:
    """The state that a provider's word means, None if the word is new. A job with a new word counts as running."""
    return (
        words.get(word.strip().lower().replace("-", "_").replace(" ", "_")) if isinstance(word, str) else None
    )


def failure_in_text(text: str) -> FailureKind:
    """Why a job failed, by the text of its error: refused content, else a fault of the provider."""
    return FailureKind.MODERATION if MODERATED.search(text) else FailureKind.PROVIDER
