"""Numbers of Hypothesis examples: the full number in `make test`, a fifth of it in `make test-fast`, twenty times as many in `make prove`."""

from hypothesis import settings

OF_A_PROFILE = 100
"""The number in `make test` for tests that name none."""


def examples(number: int) -> int:
    """The number for the loaded profile, for a test that tries this many in `make test`."""
    return max(number * settings.default.max_examples // OF_A_PROFILE, 5)
