"""All settings of dailies, read from the environment and from `.env`, and validated once. Secrets are never shown.

Every setting has a default that works on one machine, except the providers' keys and the bucket: nothing can be bought without
them, and `dailies up` starts stand-ins for both.
"""

from resources.settings.known_accounts import BUCKET, CANNOT_EDIT, POINTER
from resources.settings.ledger_access import open_ledger
from resources.settings.load import load_settings, names, pinned
from resources.settings.settings import MIN_KEPT_DAYS, Settings

__all__ = [
    "BUCKET",
    "CANNOT_EDIT",
    "MIN_KEPT_DAYS",
    "POINTER",
    "Settings",
    "load_settings",
    "names",
    "open_ledger",
    "pinned",
]
