"""The provider that storms buy from: the sandbox, in a process that loses answers and lies.

It belongs here if it decides what goes wrong at the provider, or reads the provider's books. Nothing here imports the
ledger, the engine or the providers' clients, and what the judge reads (`books`) imports nothing of the product.
"""
