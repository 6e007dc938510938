"""Real processes under real faults: workers are killed and stopped while providers lie, and a judge compares both books.

`judge`, `ambiguity` and `evidence` import nothing of dailies: they are an independent check. `worker` runs the product; the
rest starts, kills and counts.
"""
