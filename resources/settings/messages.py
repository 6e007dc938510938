"""Messages about invalid settings: the name of each variable, and the allowed values."""

import re
from collections.abc import Mapping

from pydantic import ValidationError

from resources.declared.problems import show
from resources.declared.validation import allowed_by

_MAY_BE_SECRET = re.compile("KEY|SECRET|TOKEN|URL|HEADER|PASSWORD|CERTIFICATE|PROXY", re.IGNORECASE)
_MAY_BE_KEY = re.compile(r"[\w+=-]{16,}")
"""Matches a key that was pasted into the wrong variable: providers' shortest keys have 32 characters, AWS's ids have 20."""
_LONGEST = 40
"""Characters; no setting that is shown needs more."""


def in_words(error: ValidationError, variables: Mapping[str, str] | None = None) -> str:
    """Each problem with the name of its field, or of the variable that sets it."""
    sentences = []
    for problem in error.errors():
        field = ".".join(map(str, problem["loc"])) or "settings"
        words = allowed_by(problem)
        message = problem["msg"].removeprefix("Value error, ") if words is None else words
        allowed = "allowed: " if problem["type"] == "refused" or words is not None else ""
        name = (variables or {}).get(field, field)
        sentences.append(f"{name}: {_value_text(name, problem.get('input'))}{allowed}{message}")
    return "; ".join(sentences)


def _value_text(name: str, value: object) -> str:
    """The value of a variable, if it is neither a secret nor an address, which may contain one."""
    if not isinstance(value, str) or len(value) > _LONGEST:
        return ""
    if _MAY_BE_SECRET.search(name) or _MAY_BE_KEY.search(value):
        return ""
    return f"found {show(value)}, "
