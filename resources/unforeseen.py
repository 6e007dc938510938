"""Errors that nobody foresaw: each ends only its own clip or part, and is always logged."""

import contextlib
import logging
import traceback
from collections.abc import Iterator

from resources.errors import DailiesError
from resources.plain import without_queries

logger = logging.getLogger("dailies")

_LONGEST = 20_000
"""Most characters of a logged traceback; an error may quote a stranger's text."""


class UnforeseenError(DailiesError):
    """An error that nobody foresaw: a bug of dailies, or an unexpected answer."""


@contextlib.contextmanager
def as_unforeseen(step: str) -> Iterator[None]:
    """Turn an error that nobody foresaw into an `UnforeseenError`, and log its traceback.

    Each such block does the work of one clip or of one part of an account, so the error belongs to it alone: a chunk of
    size `-c` in the answer for one clip once ended its batch of 50.

    Args:
        step: What failed, with its clip or account, e.g. `clip-a could not be fetched`.

    Raises:
        UnforeseenError: In place of every error that is no `DailiesError`. Interruptions pass.
    """
    try:
        yield
    except DailiesError:
        raise
    except Exception as error:  # noqa: BLE001 - the one place that catches every exception
        unforeseen = UnforeseenError(
            f"{step}: an error nobody foresaw ({type(error).__name__}). Its traceback is in the log of this process; "
            "please report it"
        )
        trace = without_queries("".join(traceback.format_exception(error))[-_LONGEST:])
        logger.error("%s\n%s", unforeseen, trace)  # noqa: TRY400 - the traceback is shown without what may be a signature
        raise unforeseen from None
