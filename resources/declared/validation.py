"""Validation of a document with a pydantic model; pydantic's errors become problems with file, line and field."""

import re
import types
import typing
from dataclasses import replace
from decimal import Decimal
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from resources.declared.document import Document, Where
from resources.declared.problems import Problem, ProblemsError, show


class Declared(BaseModel):
    """Base of all YAML declarations: no unknown keys, no silent conversion; docstrings become the JSON Schema (`docstrings.py`)."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    advice: ClassVar[str] = ""
    """The right places of names that are often written here by mistake."""
    carries: ClassVar[frozenset[str]] = frozenset()
    """Fields without which the others cannot be checked."""


MAX_PROBLEMS = 50
"""Most problems reported for one file: finding the nearest spelling for thousands would take minutes."""

MARKS = frozenset({"[key]", "[text]", "[fields]"})
"""Parts of pydantic's error locations that are not in the file."""

Model = TypeVar("Model", bound=Declared)

_ALLOWED = {
    "string_type": "text (put it in quotes)",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list: [a, b], or lines that begin with -",
    "dict_type": "names with values, as `name: value`",
    "date_type": "a date as YYYY-MM-DD",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "{expected}",
    "too_short": "{min_length} or more entries",
    "too_long": "at most {max_length} entries",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text that fits {pattern}",
    "string_too_short": "{min_length} or more characters",
}


def allowed_by(detail: ErrorDetails) -> str | None:
    """The allowed values of one of pydantic's errors, in our words; None if we have none for it."""
    words = _ALLOWED.get(detail["type"])
    return None if words is None else words.format(**detail.get("ctx", {}))


def declare(model: type[Model], document: Document) -> Model:
    """Validate a document against a model.

    Raises:
        ProblemsError: The document has mistakes; each names its line.
    """
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [_problem(model, document, detail) for detail in details[:MAX_PROBLEMS]]
        if (rest := len(details) - MAX_PROBLEMS) > 0:
            message = f"has {rest} more mistakes, which are shown after some of these are corrected"
            problems.append(Problem("", message, file=document.file))
        raise ProblemsError(problems) from None


def refused(message: str = "", *, allowed: str = "", found: bool = True) -> PydanticCustomError:
    """The error a validator raises; `declare` adds file and line.

    Args:
        message: The mistake, unless `allowed` is enough.
        allowed: The values that are allowed.
        found: Whether the problem shows the value in the file.
    """
    return PydanticCustomError(
        "refused", "{message}{allowed}", {"message": message, "allowed": allowed, "found": found}
    )


def place_of(detail: ErrorDetails) -> Where:
    """The place in the file that one of pydantic's errors is about."""
    # pydantic marks keys, and our unions have tags; neither is in the file
    return tuple(part for part in detail["loc"] if part not in MARKS)


def _problem(model: type[Declared], document: Document, detail: ErrorDetails) -> Problem:
    where = place_of(detail)
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        here = model_at(model, where[:-1])
        problem = document.problem(where, message="is not known here")
        problem = problem.suggesting(where[-1], sorted(here.model_fields if here else ()))
        advice = here.advice if here is not None and issubclass(here, Declared) else ""
        end = "" if problem.message.endswith("?") else "."
        return replace(problem, message=f"{problem.message}{end} {advice}") if advice else problem
    if kind == "missing":
        return document.problem(where, message="is missing")
    if kind == "refused":
        shown = show(detail["input"]) if context["found"] else None
        return document.problem(
            where, found=shown, allowed=context["allowed"] or None, message=context["message"]
        )
    if kind == "literal_error":
        allowed = str(context["expected"]).replace(" or ", ", ")
        problem = document.problem(where, found=show(detail["input"]), allowed=allowed)
        return problem.hinted(detail["input"], allowed.split("'")[1::2])
    words = _fields(model_at(model, where) or model) if kind == "model_type" else allowed_by(detail)
    if kind == "string_type" and isinstance(detail["input"], (list, dict)):
        words = "one text"
    if words is not None:
        return document.problem(where, found=show(detail["input"]), allowed=words)
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return document.problem(where, found=show(detail["input"]), message=message)


def _fields(model: type[BaseModel]) -> str:
    """The allowed form of a model, with the first field that has an example."""
    for name, field in model.model_fields.items():
        if field.examples:
            return f"fields, as `{name}: {field.examples[0]}`"
    return "fields, as `name: value`"


def model_at(model: Any, where: Where) -> type[BaseModel] | None:
    """The model of a place, None if the place has none."""
    for part in where:
        if isinstance(model, type) and issubclass(model, BaseModel) and part in model.model_fields:
            model = _inner(model.model_fields[str(part)].annotation)
        elif typing.get_origin(model) in {list, dict}:
            model = _inner(typing.get_args(model)[-1])
        else:
            return None
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _inner(annotation: Any) -> Any:
    """An annotation without `Annotated` and `| None`; of a union, the member that has fields."""
    if typing.get_origin(annotation) is Annotated:
        return _inner(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in {types.UnionType, typing.Union}:
        parts = [_inner(arg) for arg in typing.get_args(annotation) if arg is not type(None)]
        return next((p for p in parts if isinstance(p, type) and issubclass(p, BaseModel)), parts[0])
    return annotation


MAX_TEXT = 2000
"""Characters of one plain value."""


def _plain(value: Any) -> Any:
    if not isinstance(value, (str, int, float, bool)):
        raise refused(allowed="text, a number, true or false")
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise refused(f"is longer than {MAX_TEXT} characters")
    return value


Plain = Annotated[
    Any,
    AfterValidator(_plain),
    WithJsonSchema({"type": ["string", "number", "boolean"], "maxLength": MAX_TEXT}),
]
"""A plain value as YAML writes it: text, a number, true or false."""

LARGEST_USD = 1_000_000_000
_AMOUNT = re.compile(r"\+?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?")


def _dollars(value: Any) -> Decimal:
    # a number's text is exact; its binary value is not
    text = "" if isinstance(value, bool) else str(value).strip()
    if not _AMOUNT.fullmatch(text) or (amount := Decimal(text)) > LARGEST_USD:
        raise refused(allowed="an amount of US dollars from 0 up, e.g. 12.50")
    if amount != round(amount, 6):
        raise refused(allowed="an amount of US dollars with at most six decimals")
    return amount


Usd = Annotated[
    Decimal,
    BeforeValidator(_dollars),
    WithJsonSchema({"type": ["number", "string"], "minimum": 0, "maximum": LARGEST_USD}),
]
"""An amount of US dollars, exactly as a person writes it: a number, or text."""
