"""When to ask for a job next. Pure, so that it can be reasoned about and tested alone.

Nothing is known about an endpoint at first: the first polls scout, at 5 seconds and then at growing intervals, as
WaveSpeed's docs advise for video. Once three jobs have ended, a job is first asked for when they usually end.
"""

import random

SCOUT_SECONDS = 5.0
SCOUT_GROWTH = 1.4
LONGEST_SECONDS = 15.0
SHORTEST_SECONDS = 2.0
OVERDUE_SECONDS = 300.0
JITTER = 0.1
FAILED_POLL_SECONDS = 5.0


def next_poll_in(
    *, elapsed: float, polls: int, usual: float | None, overdue: bool, rng: random.Random
) -> float:
    """Seconds until a running job is asked for again.

    Args:
        elapsed: Seconds since its submit; less than none where a clock was set back.
        polls: How often it was asked for already.
        usual: How long jobs of its endpoint took lately, None where nobody knows.
        overdue: Whether it has taken longer than it should.
        rng: For the jitter of ten percent, which keeps a batch from asking in one breath.
    """
    elapsed = max(elapsed, 0.0)
    if overdue:
        delay = OVERDUE_SECONDS
    elif usual is None:
        # past ten polls it is the longest anyway, and a power without end would overflow
        delay = min(SCOUT_SECONDS * SCOUT_GROWTH ** min(polls, 10), LONGEST_SECONDS)
    elif elapsed < 0.9 * usual:
        delay = max(0.95 * usual - elapsed, 1.0)
    else:
        late = max(elapsed - usual, 0.0)
        delay = min(max(0.15 * usual, SHORTEST_SECONDS, 0.3 * late), LONGEST_SECONDS)
    return delay * rng.uniform(1 - JITTER, 1 + JITTER)


def next_poll_after_failure(*, failures: int, retry_after: float | None, rng: random.Random) -> float:
    """Seconds until a poll that got no answer is tried again; the provider's own wish goes first."""
    if retry_after is not None:
        return min(max(1.0, retry_after), OVERDUE_SECONDS)
    return min(FAILED_POLL_SECONDS * 2.0 ** min(failures, 10), 60.0) * rng.uniform(1 - JITTER, 1 + JITTER)
