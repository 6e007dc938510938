"""Benchmarks of whole flows in real processes: people start them (`make bench-throughput`), the tests never do.

Code belongs here if it measures `pipelines` and `resources` as they are.
"""
