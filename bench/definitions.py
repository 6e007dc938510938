"""The product's code location, whose workers note what they have used."""

from bench.usage import note_at_exit
from pipelines.definitions import defs

__all__ = ["defs"]

note_at_exit()
