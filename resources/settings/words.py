"""Invalid settings in a person's words: the name of each variable, and what is allowed."""

from collections.abc import Mapping

from pydantic import ValidationError

from resources.declared.validation import allowed_by


def in_words(error: ValidationError, variables: Mapping[str, str] | None = None) -> str:
    """Each problem with the name of its field, or of the variable that sets it."""
    said = []
    for problem in error.errors(include_input=False):
        field = ".".join(map(str, problem["loc"])) or "settings"
        words = allowed_by(problem)
        message = problem["msg"].removeprefix("Value error, ") if words is None else words
        allowed = "allowed: " if problem["type"] == "refused" or words is not None else ""
        said.append(f"{(variables or {}).get(field, field)}: {allowed}{message}")
    return "; ".join(said)
