"""A file as its author most likely meant it: mistakes that the mistakes of its shape hide are then named in the same go."""

import copy
import difflib
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from resources.declared.document import Document, Where
from resources.declared.validation import Declared, model_at, place_of


def mended(model: type[Declared], document: Document) -> Document | None:
    """The document with each mistake of its shape mended; None if it has none, or where what was meant is not clear.

    A misspelt name becomes the nearest one, and an unfit value gives way to its default. It serves to find further mistakes alone:
    nothing is ordered by it.
    """
    try:
        model.model_validate(document.value)
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
    else:
        return None
    made = replace(document, value=copy.deepcopy(document.value), lines=dict(document.lines))
    return made if all(_mend(model, made, one["type"], place_of(one)) for one in mistakes) else None


def _mend(model: type[Declared], document: Document, kind: str, where: Where) -> bool:
    """Mend one mistake in place; returns whether it is clear what was meant."""
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
        # an unknown name with names below it may hold what the prompts need
        return not isinstance(holder.pop(name), dict)
    field = around.model_fields.get(name)
    if field is None or field.is_required() or name in around.carries:
        return False
    holder.pop(name, None)
    return True
