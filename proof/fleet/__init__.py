"""Several hosts with one ledger: what a dead, cut off or frozen host had is carried on by another, and nothing is bought twice.

Hosts are network namespaces where they may be made, and else addresses of this machine whose lines a relay can hold.
"""
