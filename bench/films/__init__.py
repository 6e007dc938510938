"""Clips made on purpose, good ones and bad ones, to measure what the checks of `resources.video` say of them.

It belongs here if it makes or lists clips; how they are judged is the product's business.
"""
