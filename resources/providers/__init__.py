"""The providers' wire formats, one module each, behind the one interface in `base.py`.

A provider client knows HTTP and words, never the ledger: it sends what it is told and says which of four things
happened.
"""
