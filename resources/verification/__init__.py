"""Finding out what a live provider really does: one job is bought and watched, and compared with the documented contract.

It belongs here if it observes. What is bought goes through the ledger like every purchase.
"""
