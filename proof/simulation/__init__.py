"""A deterministic simulation of everything that can go wrong between a decision to buy and the delivered clip.

Code belongs here if it makes, breaks, watches or judges a history. The engine, the follower, the deliverer and the ledger
are the product's own; the provider, the bucket, time and the processes are models, and the provider's books are kept by
a module that imports nothing of dailies.
"""
