"""The providers' wire formats, one package each, behind the interface in `provider.py`; `registry.py` lists them.

A provider client knows HTTP and words, never the ledger: it sends what it is told and says which of four things
happened.
"""
