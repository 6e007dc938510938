"""The catalogue: an entry of `data/models/` for each endpoint, with its parameters, price, output and lifecycle.

Providers' answers belong to `resources.providers`.
"""

from resources.catalogue.catalogue import Catalogue
from resources.catalogue.endpoint import Endpoint, Lifecycle, Pricing
from resources.catalogue.files import DataFolder
from resources.catalogue.parameters import Parameter

__all__ = ["Catalogue", "DataFolder", "Endpoint", "Lifecycle", "Parameter", "Pricing"]
