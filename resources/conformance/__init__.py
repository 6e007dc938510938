"""The conformance kit: what the rules of money ask of a provider's client, tried against its front at the sandbox.

A check knows no provider: it uses the client's interface, the front's books, and answers of the front that it breaks on the way.
"""
