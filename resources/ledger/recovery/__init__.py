"""A ledger that was lost or restored: the mark in the bucket that shows its age, and the rebuild from what is outside.

Copies of the ledger are in `resources.ledger.backup` (files) and `resources.production.ledger_copies` (the bucket).
"""
