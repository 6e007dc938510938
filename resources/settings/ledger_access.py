"""The one way to open a ledger."""

from typing import TYPE_CHECKING

from resources.settings.settings import Settings

if TYPE_CHECKING:
    from resources.ledger.ledger import Ledger


def open_ledger(settings: Settings, *, patience: float | None = None) -> "Ledger":
    """The ledger with the policy of the settings. Commands, resources and jobs open it only through this function.

    A rebuilt ledger once counted its days in UTC, because its command did not pass the budget.

    Args:
        patience: Seconds to wait for a PostgreSQL server that is away; None for the time of a command or a tick.

    Raises:
        ConfigurationError: The database cannot be used; see `resources.ledger.database.open_database`.
    """
    # SQLAlchemy is half of a command's imports, and many commands read only settings
    from resources.ledger.ledger import Ledger
    from resources.ledger.outage import PATIENCE_SECONDS

    return Ledger(
        settings.ledger_url,
        budget=settings.budget,
        policy=settings.policy,
        patience=PATIENCE_SECONDS if patience is None else patience,
    )
