"""Clips made on purpose, good ones and bad ones, to measure the checks of `resources.video`.

Code belongs here if it makes or lists clips; the product judges them.
"""
