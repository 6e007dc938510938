"""The providers' wire formats, one package each, behind the interface in `provider.py`; `registry.py` lists them.

A provider client knows HTTP and the provider's vocabulary, never the ledger: it sends a request and returns one of four outcomes.
"""
