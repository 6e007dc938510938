"""The one way to open a ledger."""

from typing import TYPE_CHECKING

from resources.settings.settings import Settings

if TYPE_CHECKING:
    from resources.ledger.ledger import Ledger


def open_ledger(settings: Settings, *, patience: float | None = None) -> "Ledger":
    """The ledger with what the settings say of the policy. Commands, resources and jobs open it only through this function.

    A rebuilt ledger once counted its days in UTC, because its command did not pass the budget.

    Args:
        patience: How long to wait for a PostgreSQL server that is away, in seconds; None for as long as a command or a tick waits.

    Raises:
        ConfigurationError: The database cannot be used; see `resources.ledger.database.open_database`.
    """
    # SQLAlchemy is half of what a command loads, and many commands read settings alone
    from resources.ledger.ledger import Ledger
    from resources.ledger.outage import PATIENCE_SECONDS

    return Ledger(
        settings.ledger_url,
        budget=settings.budget,
        said=settings.policy,
        patience=PATIENCE_SECONDS if patience is None else patience,
    )
