"""Taking stock: what waits for a person, what is near its end, and whether bucket and ledger hold the same.

The same findings are Dagster's asset checks, `dailies doctor` and alarms. Nothing here knows Dagster.
"""
