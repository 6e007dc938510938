"""Who sends a request to the room, and what they may do.

Without a proxy the only person is the user who runs the room. With one, its header names the person, and a request without
the header is refused: the proxy is then the only way in.
"""

import getpass
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from resources.ledger.verdicts import LONGEST_WHO
from resources.plain import name
from resources.series.review_rules import ReviewRules, Right


@dataclass(frozen=True)
class Person:
    """Who asks."""

    name: str
    right: Right


class Doorkeeper:
    """Names the person of a request.

    Args:
        header: The header in which an authenticating proxy names its user, in any case; None without a proxy.
        rules: Returns the team's rules, which may change while the room is open.
    """

    def __init__(self, header: str | None, rules: Callable[[], ReviewRules]) -> None:
        self._header = header
        self._rules = rules

    def person_of(self, headers: Mapping[str, str]) -> Person | None:
        """The person of a request; None where the proxy names nobody.

        Raises:
            ProblemsError: The team's rules have mistakes.
        """
        if self._header is None:
            return Person(getpass.getuser(), Right.BUY)
        person = name(headers.get(self._header, "").strip(), longest=LONGEST_WHO)
        return Person(person, self._rules().right_of(person)) if person else None
