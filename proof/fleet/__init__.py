"""Several hosts share one ledger: when a host is dead, cut off or frozen, another finishes its clips, and nothing is bought twice.

Hosts are network namespaces where this user may make them; otherwise they are addresses of this machine, served by relays.
"""
