"""The policy at `dailies up`: it puts its settings in force, or says why it buys nothing."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipelines.cli.policy_table import changes, person
from resources.errors import UnavailableError
from resources.ledger import policy_history
from resources.settings import Settings, open_ledger

if TYPE_CHECKING:
    from resources.ledger.policy_settings import Policy


class StackPolicy:
    """The policy of one `dailies up`.

    A ledger in SQLite has one machine, so its settings are put in force at the start. On PostgreSQL, other hosts may have other
    settings, so this host only adds settings that nobody has set.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._said: Policy = {}

    def put_in_force(self, settings: Settings) -> bool:
        """Put this host's settings in force, and print the changes; returns whether they agree with the ledger now."""
        self._said = policy = settings.policy
        try:
            with open_ledger(settings) as ledger:
                if not ledger.is_of_one_machine:
                    known = policy_history.adopt_settings(ledger)
                else:
                    changed = policy_history.apply(ledger, policy, who=person())
                    for line in changes(ledger, [one for one in changed if one.before is not None]):
                        self._log(line)
                    known = policy_history.in_force(ledger)
        except UnavailableError as error:
            self._log(f"whether this host's settings are the policy in force is not known: {error}")
            return False
        if known.refusal is not None:
            self._log(known.refusal)
        elif left := sorted(known.entries.keys() - policy.keys()):
            named = ", ".join(f"{one} ({one.show(known.entries[one].value)})" for one in left)
            self._log(
                f"in force from before, and not set here: {named}. `dailies policy` shows it; an empty value lifts it"
            )
        return known.refusal is None

    def follow(self, settings: Settings) -> None:
        """Put changes of the files in `data/accounts` in force."""
        if settings.policy != self._said:
            self.put_in_force(settings)
