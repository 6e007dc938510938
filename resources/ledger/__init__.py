"""The durable record of every attempt and every dollar.

Here belongs everything that dailies knows about money: the schema, the states, the rules, and the transactions that change
them. HTTP and Dagster do not belong here.
"""
