"""The engine: it submits, polls and delivers what the ledger says was decided, many clips in one asyncio loop.

It knows neither Dagster nor any provider's words. Time comes from the ledger's clock and sleeping is passed in, so that
tests run a day in a second.
"""
