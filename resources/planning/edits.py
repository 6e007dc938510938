"""Changes of clips that were bought before: prompt and parameters, compared with the newest purchase."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from resources.ledger.ledger import Ledger
from resources.orders import shown_body
from resources.planning.plan import Plan, Verb

CONTEXT = 6
"""How many unchanged words are shown on each side of a change."""


@dataclass(frozen=True)
class Change:
    """One change of a clip's request."""

    name: str
    """`prompt`, `endpoint`, or a parameter."""
    before: Any
    """The value of the newest purchase; None if it had none."""
    after: Any
    """The value that would be bought; None if it has none."""


@dataclass(frozen=True)
class Edit:
    """A clip that would be bought with another request than before."""

    clip: str
    """Its key."""
    changes: list[Change]
    """What differs, the prompt first."""


def edits(ledger: Ledger, plan: Plan) -> list[Edit]:
    """The edited clips that a plan would buy.

    Raises:
        resources.errors.UnavailableError: The ledger does not answer.
    """
    requests = {
        one.clip: one.request for one in plan.clips if one.verb is Verb.BUY and one.request is not None
    }
    edited = []
    for key, attempt in ledger.latest(list(requests)).items():
        before, after = attempt.request, requests[key]
        # of the request that a fallback replaced, only the fingerprint is known
        if before.fingerprint == after.fingerprint:
            continue
        old = {"endpoint": before.endpoint, **shown_body(before.body)}
        new = {"endpoint": after.endpoint, **shown_body(after.body)}
        names = sorted({*old, *new}, key=lambda name: (name != "prompt", name))
        changes = [Change(n, old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)]
        if changes:
            edited.append(Edit(key, changes))
    return edited


def word_changes(before: str, after: str) -> Iterator[tuple[str, str]]:
    """Compare the words of two texts; yields `same`, `gone` or `new` with the words. Long unchanged stretches are shortened."""
    old, new = (re.findall(r"\S+", text) for text in (before, after))
    blocks = difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes()
    for index, (kind, a, b, c, d) in enumerate(blocks):
        if kind == "equal":
            yield "same", _cut(old[a:b], first=index == 0, last=index == len(blocks) - 1)
            continue
        if a < b:
            yield "gone", " ".join(old[a:b])
        if c < d:
            yield "new", " ".join(new[c:d])


def _cut(words: list[str], *, first: bool, last: bool) -> str:
    """The words next to a change; the others become an ellipsis."""
    head, tail = [] if first else words[:CONTEXT], [] if last else words[-CONTEXT:]
    return " ".join(words if len(words) <= len(head) + len(tail) else [*head, "…", *tail])
