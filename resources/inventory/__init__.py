"""The inventory: what waits for a person, what will soon be deleted, and whether bucket and ledger agree.

The same findings are Dagster's asset checks, `dailies doctor` and alarms. Nothing here knows Dagster.
"""
