"""The proof that the rules of money hold: histories in virtual time, real processes under faults, killed deliveries.

Code belongs here if a claim about money rests on it. Code that only measures speed or cost is in `bench`.
"""
