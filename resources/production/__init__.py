"""The engine: it submits, polls and delivers what the ledger has decided, many clips in one asyncio loop.

Dagster and the providers' wire formats do not belong here. Time comes from the ledger's clock and sleeping is passed in, so
that tests run a day in a second.
"""
