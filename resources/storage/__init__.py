"""The bucket: downloads into it, objects, the trial of a bucket, manifests, keys, and the embedded S3 of a first run.

Providers, the ledger and Dagster do not belong here.
"""
