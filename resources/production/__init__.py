"""The engine: it submits, polls and delivers what the ledger has decided, many clips in one asyncio loop.

Dagster and the providers' wire formats do not belong here. The ledger's clock gives the time, and callers pass in the sleep
function, so that tests run a day in a second.
"""
