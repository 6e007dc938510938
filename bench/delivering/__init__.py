"""Deliveries by real processes that are killed at random: `bench/deliveries.py`, and its short form among the tests.

It belongs here if it sets such deliveries up, carries them out, or judges what is left of them.
"""
