"""The person's bucket and the way into it: fetching outputs, storing objects, the manifest and the layout of the keys.

Also the embedded S3 server of a first run. Nothing here knows providers, the ledger or Dagster.
"""
