"""Recovery of a lost or restored ledger: the mark in the bucket that shows its age, and the rebuild from bucket and providers.

Copies of the ledger are in `resources.ledger.backup` (files) and `resources.production.ledger_copies` (the bucket).
"""
