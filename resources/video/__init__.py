"""Inspection of clips: the facts of a file, its poster, and the checks of what was ordered.

Only guarded processes read strangers' bytes. Nothing here knows storage, providers or Dagster.
"""
