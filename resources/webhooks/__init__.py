"""The receiver of providers' webhooks: a small server of its own that turns a verified callback into a match and a poll.

Nothing depends on it: what it misses, polling and reconciling find.
"""
