"""The bucket and the way into it: downloads, objects, the trial of a bucket, manifests, keys, and the embedded S3 of a first run.

Nothing here knows providers, the ledger or Dagster.
"""
