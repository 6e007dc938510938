"""Real processes under real faults: a provider of its own, workers that are killed and stopped, and a judge of both books.

`oracle.py` and what it is made of (`wire`, `books`, `mischief`, `shop`, `wavespeed_wire`, `aimlapi_wire`) import nothing
of dailies, and neither does `judge.py`: what they say is a second opinion. `worker.py` drives the product; the rest starts,
kills and counts.
"""
