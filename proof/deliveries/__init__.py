"""Deliveries by real processes that are killed at random: `make bench-deliveries`, and its short form among the tests.

Code belongs here if it sets such deliveries up, carries them out, or judges their results.
"""
