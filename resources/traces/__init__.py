"""OpenTelemetry traces of a clip's life: the spans of every part (`spans`), and their way to a collector (`collector`).

Traces never affect purchases: without a collector's address nothing is loaded, and if the collector is down, only spans are lost.
"""
