"""Poll times: when a job is polled next. Pure functions.

At first nothing is known about an endpoint: the first polls come every 6 seconds, the next ones at growing intervals, as
WaveSpeed's docs advise for video. Once three jobs have ended, the first poll comes when they usually end.
"""

import random

SCOUT_SECONDS = 6.0
SCOUT_SHARE = 0.3
"""Of the time since the submit. Intervals that grew by a factor left jobs of half a minute without a poll for 15 seconds."""
LONGEST_SECONDS = 15.0
SHORTEST_SECONDS = 2.0
OVERDUE_SECONDS = 300.0
JITTER = 0.1
FAILED_POLL_SECONDS = 5.0


def next_poll_in(*, elapsed: float, usual: float | None, overdue: bool, rng: random.Random) -> float:
    """Seconds until the next poll of a running job.

    Args:
        elapsed: Seconds since its submit; negative if a clock was set back.
        usual: How many seconds jobs of its endpoint took lately; None if that is not known.
        overdue: Whether the job is overdue.
        rng: For the jitter of ten percent, which spreads the polls of a batch.
    """
    elapsed = max(elapsed, 0.0)
    if overdue:
        delay = OVERDUE_SECONDS
    elif usual is None:
        delay = min(max(SCOUT_SECONDS, SCOUT_SHARE * elapsed), LONGEST_SECONDS)
    elif elapsed < 0.9 * usual:
        delay = max(0.95 * usual - elapsed, 1.0)
    else:
        late = max(elapsed - usual, 0.0)
        delay = min(max(0.15 * usual, SHORTEST_SECONDS, 0.3 * late), LONGEST_SECONDS)
    return delay * rng.uniform(1 - JITTER, 1 + JITTER)


def next_poll_after_failure(*, failures: int, retry_after: float | None, rng: random.Random) -> float:
    """Seconds until the next poll after a failed one; the provider's `Retry-After` has priority."""
    if retry_after is not None:
        return min(max(1.0, retry_after), OVERDUE_SECONDS)
    return min(FAILED_POLL_SECONDS * 2.0 ** min(failures, 10), 60.0) * rng.uniform(1 - JITTER, 1 + JITTER)
