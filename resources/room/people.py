"""The person of a request to the room, and the person's rights.

Without a proxy, the only person is the user who runs the room. With a proxy, its header names the person, and a request without the
header is refused, so that everybody must use the proxy.
"""

import getpass
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers

from resources.ledger.verdicts import LONGEST_WHO
from resources.plain import name
from resources.series.review_rules import ReviewRules, Right


@dataclass(frozen=True)
class Person:
    """Who asks."""

    name: str
    right: Right


class Doorkeeper:
    """Finds the person of a request.

    Args:
        header: The header in which an authenticating proxy names its user, in any case; None without a proxy.
        rules: Returns the team's rules, which may change while the room is open.
    """

    def __init__(self, header: str | None, rules: Callable[[], ReviewRules]) -> None:
        self._header = header
        self._rules = rules

    def person_of(self, headers: Headers) -> Person | None:
        """The person of a request; None if the proxy names nobody, or the request has two names.

        Raises:
            ProblemsError: The team's rules have mistakes.
        """
        if self._header is None:
            return Person(getpass.getuser(), Right.BUY)
        names = headers.getlist(self._header)
        # a proxy that only adds its header keeps one that the browser sent
        person = name(names[0].strip(), longest=LONGEST_WHO) if len(names) == 1 else ""
        return Person(person, self._rules().right_of(person)) if person else None
