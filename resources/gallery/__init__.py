"""The gallery: static pages in the bucket that show every clip to whoever has to judge it, and what it cost.

It reads the ledger and writes HTML. Nothing here knows Dagster, except the address that a clip's link leads to.
"""
