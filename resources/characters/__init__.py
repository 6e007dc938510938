"""Having characters made at their providers, once each, and knowing which there are."""

from resources.characters.made import made_in
from resources.characters.maker import Maker

__all__ = ["Maker", "made_in"]
