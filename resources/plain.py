"""Text that strangers wrote, made fit to be shown: without what may be a signature, and not longer than anybody reads."""

import re

_QUERY = re.compile(r"(https?://)(?:[^\s/?#@]*@)?([^\s?#\"'<>()\[\]]*)[?#][^\s\"'<>()\[\]]*", re.IGNORECASE)
_USERINFO = re.compile(r"(https?://)[^\s/?#@]*@", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def without_queries(text: str) -> str:
    """The same text with every address in it cut before its query, which may be a signature, and without its password."""
    return _USERINFO.sub(r"\1", _QUERY.sub(r"\1\2", text))


def shown(text: str | None, *, longest: int = 2_000) -> str:
    """A stranger's text as it may stand on a page or in a message; escaping it is left to whoever writes that.

    Args:
        text: None is nothing.
        longest: Characters; what is cut ends in an ellipsis.
    """
    clean = _CONTROL.sub(" ", without_queries(text or "")).strip()
    return clean if len(clean) <= longest else clean[: longest - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
