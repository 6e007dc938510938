"""fal's errors: whether fal wrote one, its text, and why a request failed (fal docs: errors)."""

from typing import Any

from resources.providers import answers
from resources.providers.base import FailureKind
from resources.providers.http import Answer

REFUSED = {400, 404, 405, 413, 422}
"""Statuses of a request that is refused finally."""


def is_error(fields: dict[str, Any]) -> bool:
    """Whether fal itself, and not a gateway, wrote an error."""
    return bool(answers.reason(fields.get("detail")) or answers.text_or_none(fields.get("error_type")))


def refusal(answer: Answer) -> FailureKind | None:
    """Why a submit was certainly refused; None if that is not certain (see the module's table)."""
    if answer.status == 401:
        return FailureKind.AUTH
    if answer.status == 402:
        return FailureKind.INSUFFICIENT_FUNDS
    if not is_error(answer.fields):
        return None
    text = answers.reason(answer.fields)
    if answer.status == 403:
        no_funds = answers.NO_FUNDS.search(text) or "locked" in text.lower()
        return FailureKind.INSUFFICIENT_FUNDS if no_funds else FailureKind.AUTH
    if answer.status == 429:
        return FailureKind.THROTTLED
    return failure(answer, text) if answer.status in REFUSED else None


def failure(answer: Answer, text: str) -> FailureKind:
    """Why a request failed: by the type of its error, else by its status and its words."""
    if "content_policy_violation" in _types(answer.fields) or answers.MODERATED.search(text):
        return FailureKind.MODERATION
    if "no_media_generated" in _types(answer.fields):
        return FailureKind.NO_OUTPUT
    return FailureKind.INVALID if answer.status in REFUSED else FailureKind.PROVIDER


def _details(fields: dict[str, Any]) -> list[dict[str, Any]]:
    detail = fields.get("detail")
    return [one for one in detail[:5] if isinstance(one, dict)] if isinstance(detail, list) else []


def _types(fields: dict[str, Any]) -> set[str]:
    types = {str(one.get("type")) for one in _details(fields)}
    return types | {str(fields.get("error_type"))}


def with_places(fields: dict[str, Any]) -> str:
    """The errors of a 422, each with its part of the request."""
    sentences = []
    for one in _details(fields):
        place = one.get("loc")
        where = ".".join(map(str, place[:6])) if isinstance(place, list) else ""
        sentences.append(
            f"{where}: {answers.reason(one.get('msg'))}" if where else answers.reason(one.get("msg"))
        )
    return "; ".join(filter(None, sentences))
