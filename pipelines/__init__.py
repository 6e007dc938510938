"""Dagster only: what runs, when, and how it is shown. Imports `resources`, never the other way round."""
