"""Corrects mistakes of a file's structure, so that the mistakes that they hide are reported at the same time."""

import copy
import difflib
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from resources.declared.document import Document, Where
from resources.declared.validation import Declared, model_at, place_of


def corrected(model: type[Declared], document: Document) -> Document | None:
    """The document with each mistake of its structure corrected; None if it has none, or if the intention is unclear.

    A misspelt name becomes the nearest one, and an invalid value becomes its default. It serves only to find further mistakes:
    nothing is ordered by it.
    """
    try:
        model.model_validate(document.value)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
    else:
        return None
    copied = replace(document, value=copy.deepcopy(document.value), lines=dict(document.lines))
    return copied if all(_correct(model, copied, one["type"], place_of(one)) for one in mistakes) else None


def _correct(model: type[Declared], document: Document, kind: str, where: Where) -> bool:
    """Correct one mistake in place; returns whether the intention is clear."""
    around = model_at(model, where[:-1])
    if not where or around is None or not issubclass(around, Declared):
        return False
    holder: Any = document.value
    for part in where[:-1]:
        holder = holder[part]
    name = str(where[-1])
    if kind == "extra_forbidden":
        left = [field for field in around.model_fields if field not in holder]
        near = difflib.get_close_matches(name, left, n=1)
        if near:
            document.lines[*where[:-1], near[0]] = document.line(where)
            holder[near[0]] = holder.pop(name)
            return True
        # an unknown name with names below it may hold values that the prompts need
        return not isinstance(holder.pop(name), dict)
    field = around.model_fields.get(name)
    if field is None or field.is_required() or name in around.carries:
        return False
    holder.pop(name, None)
    return True
