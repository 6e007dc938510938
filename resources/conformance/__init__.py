"""The conformance kit: tests a provider's client against the rules of money, with its front at the sandbox.

A check is the same for all providers: it uses the client's interface, the front's books, and answers of the front that it damages.
"""
