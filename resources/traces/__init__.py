"""OpenTelemetry traces of a clip's life: what every part may say (`spans`), and how it reaches a collector (`collector`).

Nothing here decides anything: without a collector's address nothing is loaded, and a collector that is down costs spans alone.
"""
