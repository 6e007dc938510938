"""A strict YAML reader that reports lines, and problems that name the remedy.

Code for only one kind of file does not belong here.
"""
