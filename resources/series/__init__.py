"""The declarations of `data/series/`: read, checked before anything is sent, expanded into clips and rendered into requests.

Purchases belong to `resources.ledger`.
"""

from resources.series.declarations import Declarations, date_in_key, load_series
from resources.series.series import Clip, Series

__all__ = ["Clip", "Declarations", "Series", "date_in_key", "load_series"]
