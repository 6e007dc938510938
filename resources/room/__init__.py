"""The room: pages on which people judge takes, served from this machine.

It reads the ledger and the bucket and records verdicts. Only its `Shop` buys.
"""
