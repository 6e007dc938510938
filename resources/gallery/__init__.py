"""The gallery: static pages in the bucket that show every clip and its cost to the people who judge it.

It reads the ledger and writes HTML. It uses Dagster's address for links only.
"""
