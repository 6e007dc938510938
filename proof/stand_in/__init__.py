"""The provider that storms buy from: the sandbox, in a process that loses answers and lies.

Code belongs here if it decides the provider's faults, or reads the provider's books. Nothing here imports the
ledger, the engine or the providers' clients, and the judge's module (`books`) imports nothing of the product.
"""
