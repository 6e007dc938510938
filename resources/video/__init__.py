"""Looking at clips: what a file really is, its poster, and how it differs from what was asked for.

Strangers' bytes are read in a guarded worker process only; nothing here knows storage, providers or Dagster.
"""
