"""The export: copies of chosen takes in a person's folder, marked and signed on request, and a timeline of them.

It reads the ledger and the bucket and changes neither.
"""
