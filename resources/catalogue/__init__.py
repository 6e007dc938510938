"""What can be bought: one entry for each endpoint with its parameters, price, output and lifecycle, read from `data/models/`."""

from resources.catalogue.catalogue import Catalogue
from resources.catalogue.endpoint import Endpoint, Lifecycle, Pricing
from resources.catalogue.files import DataFolder
from resources.catalogue.parameters import Parameter

__all__ = ["Catalogue", "DataFolder", "Endpoint", "Lifecycle", "Parameter", "Pricing"]
