"""A strict YAML reader that knows lines, and problems that people can act on.

What only one kind of file needs does not belong here.
"""
