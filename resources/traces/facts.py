"""The facts of an attempt in its spans."""

from collections.abc import Mapping
from typing import TypeAlias

Fact: TypeAlias = str | int | float
Facts: TypeAlias = Mapping[str, Fact | None]
"""By name, without the prefix `dailies.`; None is left out."""
