"""The receiver of providers' webhooks: a small server that turns a verified callback into a match and a poll.

Nothing depends on it: polling and reconciling find every job that it misses.
"""
