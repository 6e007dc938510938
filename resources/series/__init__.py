"""Declarations: what people write in `data/series/`, checked as deeply as possible, expanded into clips and rendered."""

from resources.series.declarations import Declarations, load_series
from resources.series.series import Clip, Series

__all__ = ["Clip", "Declarations", "Series", "load_series"]
