"""What shows that the rules of money hold: histories in virtual time, real processes under faults, killed deliveries.

It belongs here if a claim about money rests on it. What only measures speed or cost is in `bench`.
"""
