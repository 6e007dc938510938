"""Text from outside: characters that no text may contain, and the parts of texts and addresses that may be shown.

Every text of a provider, a server or a file passes one of these functions where it comes in (a provider's text in the
dataclasses of `resources.providers.base`). The code that writes a page or a message escapes it.
"""

import re
import unicodedata
from typing import Any

LONGEST_NAME = 200
"""Most characters of a stranger's name for something: a model, a status, a host."""

UNFIT = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
"""Characters that no declared or rendered text may contain: controls except tab and line feed, marks that reverse the
direction of writing, lone surrogates, and code points that are no characters."""

_DEEPEST = 64
# One match takes an address to its end, so that a hostile megabyte is read once. Its slashes may be escaped as JSON or as part of
# another address.
_ADDRESS = re.compile(r"(?::|%3a)(?:\\{0,2}/|%2f){2}[^\s\"'<>]*", re.IGNORECASE)
_OPENING = re.compile(r"(?::|%3a)(?:\\{0,2}/|%2f){2}", re.IGNORECASE)
_SECRET_PART = re.compile(r"[?#]|%3f|%23", re.IGNORECASE)
_PATH = re.compile(r"[/\\]|%2f", re.IGNORECASE)
_USER = re.compile(r"@|%40", re.IGNORECASE)
# a port, and the punctuation of the sentence around the address
_HOST = re.compile(r"[^:\[\]]*+(?::[0-9]{0,5})?\W*|\[[0-9a-f:.]+\](?::[0-9]{0,5})?\W*", re.IGNORECASE)


def without_queries(text: str) -> str:
    """The same text with every address cut before its query or fragment, and without user and password.

    If the place of the port may be a password, the rest of the address is left out, because its host is not certain.
    """
    return _ADDRESS.sub(_address_only, text) if "//" in text or "\\/" in text or "%" in text else text


def _address_only(found: re.Match[str]) -> str:
    opening = _OPENING.match(found[0])
    start = opening.end() if opening else 0
    whole = found[0][start:]
    cut = _SECRET_PART.search(whole)
    kept = whole[: cut.start()] if cut else whole
    slash = _PATH.search(kept)
    authority, path = (kept[: slash.start()], kept[slash.start() :]) if slash else (kept, "")
    host = _USER.split(authority)[-1]
    if not _HOST.fullmatch(host):
        return f"{found[0][:start]}…"
    return f"{found[0][:start]}{host}{path}"


def addresses_cut(value: Any, _depth: int = 0) -> Any:
    """A copy of a JSON value in which every address is cut by `without_queries` and every unfit character is replaced.

    Raises:
        ValueError: The value is nested more than 64 levels deep.
    """
    if _depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return fit(without_queries(value))
    if isinstance(value, list | tuple):
        return [addresses_cut(item, _depth + 1) for item in value]
    if isinstance(value, dict):
        return {fit(str(name)): addresses_cut(item, _depth + 1) for name, item in value.items()}
    return value


def fit(text: str) -> str:
    """The text with a replacement character for every unfit character."""
    return UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def legible(text: str, *, instead: str = " ", lines: bool = False) -> str:
    """The text without invisible characters: controls, formats, surrogates, unassigned code points.

    Args:
        instead: The replacement of each.
        lines: Whether line feeds and tabs stay.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(char if char.isprintable() or char in kept else instead for char in text)


def slug(value: object) -> str:
    """A value as a part of a name: `Golden hour` becomes `golden-hour`."""
    text = unicodedata.normalize("NFKD", str(value)).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")


def name(text: str, *, longest: int = LONGEST_NAME) -> str:
    """A stranger's name for something, e.g. a model. Invisible characters are marked, so that different names look different.

    Args:
        longest: Most characters; a name that is cut ends with its length.
    """
    clean = legible(text[:longest], instead="\N{REPLACEMENT CHARACTER}")
    return clean if len(text) <= longest else f"{clean}… ({len(text):,} characters)"


def shown(text: str | None, *, longest: int = 2_000) -> str:
    """A stranger's text for a page or a message.

    Args:
        text: None gives an empty text.
        longest: Most characters; a text that is cut ends with an ellipsis.
    """
    clean = legible(without_queries(text or ""), lines=True).strip()
    return clean if len(clean) <= longest else clean[: longest - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def clean_fields(thing: object, *, names: tuple[str, ...] = (), sentences: tuple[str, ...] = ()) -> None:
    """Clean strangers' text in the fields of a frozen dataclass, from its `__post_init__`; None stays None.

    Args:
        thing: The dataclass.
        names: Fields that `name` cleans.
        sentences: Fields that `shown` cleans.
    """
    for fields, cleaned in ((names, name), (sentences, shown)):
        for field in fields:
            value = getattr(thing, field)
            if value is not None:
                object.__setattr__(thing, field, cleaned(value))
