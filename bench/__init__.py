"""Benchmarks of whole flows on real processes: started by hand (`make bench-throughput`), never by the tests.

It belongs here if it measures; what it measures it finds in `pipelines` and `resources` as they are.
"""
