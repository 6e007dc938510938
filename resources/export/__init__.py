"""Takes that leave the house: copies of chosen takes in a person's folder, and a timeline of them for an editing program.

It reads the ledger and the bucket and changes neither.
"""
