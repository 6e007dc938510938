"""The verification of a live provider: one job is bought, watched, and compared with the documented contract.

Observation belongs here; the purchase goes through the ledger like all others.
"""
