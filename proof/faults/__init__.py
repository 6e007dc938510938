"""Real processes under real faults: workers are killed and stopped while providers lie, and a judge compares both books.

`judge`, `ambiguity` and `evidence` import nothing of dailies: what they say is a second opinion. `worker` drives the product; the
rest starts, kills and counts.
"""
