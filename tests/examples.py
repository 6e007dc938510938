"""How many examples Hypothesis tries: as named in `make test`, a fifth of it in `make test-fast`, twenty times as many in `make prove`."""

from hypothesis import settings

OF_A_PROFILE = 100
"""What the profile of `make test` tries where a test names no number."""


def examples(number: int) -> int:
    """So many examples of a whole run, or the loaded profile's share of them."""
    return max(number * settings.default.max_examples // OF_A_PROFILE, 5)
