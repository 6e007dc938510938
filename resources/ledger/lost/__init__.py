"""POSTs whose answer was lost: the evidence about each, the search for its job, and how it is settled.

What a provider shows (listing, bill, clock) is judged here. Whoever reads it from the provider is in `resources.production`.
"""
