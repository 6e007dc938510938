"""POSTs whose answer was lost: the evidence about each, the search for its job, and its settlement.

This package judges the listing, the bill and the clock of a provider. `resources.production` reads them from the provider.
"""
