"""The durable record of every attempt and every dollar.

Whatever dailies knows about money is here and nowhere else: the schema, the states and who may change them, and the
transactions that do. It knows neither HTTP nor Dagster.
"""
