"""What the pipelines work with: declarations, catalogue, providers, ledger, engine, storage, video, sandbox.

Nothing in here imports `pipelines`, and only `resources/dagster_resources.py` knows Dagster. Each room is a plain client that is
tested alone.
"""
