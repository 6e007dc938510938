"""Inspection of clips: the facts of a file, its poster, and the checks of what was ordered.

Only the guarded worker process decodes strangers' bytes. Nothing here knows storage, providers or Dagster.
"""
