"""Errors that nobody foresaw: kept from ending what has nothing to do with them, and never swallowed."""

import contextlib
import logging
import traceback
from collections.abc import Iterator

from resources.errors import DailiesError
from resources.plain import without_queries

logger = logging.getLogger("dailies")

_LONGEST = 20_000
"""Characters of a traceback that are logged; an error may quote what a stranger sent."""


class UnforeseenError(DailiesError):
    """An error that nobody foresaw: a bug of dailies, or an answer that nobody has thought of."""


@contextlib.contextmanager
def in_our_words(what: str) -> Iterator[None]:
    """Within the block an error that nobody foresaw becomes an `UnforeseenError`, and its traceback is logged.

    Each such block does one clip's work, or one part of an account's: an error in it is that clip's or that part's. A
    chunk of the size `-c`, in the answer for one clip, once ended its batch of 50.

    Args:
        what: What did not come about, with its clip or account, e.g. `clip-a could not be fetched`.

    Raises:
        UnforeseenError: Instead of whatever is no `DailiesError`. Interruptions go through.
    """
    try:
        yield
    except DailiesError:
        raise
    except Exception as error:  # noqa: BLE001 - the one place that takes whatever it is
        told = UnforeseenError(
            f"{what}: an error nobody foresaw ({type(error).__name__}). Its traceback is in the log of this process; "
            "please report it"
        )
        trace = without_queries("".join(traceback.format_exception(error))[-_LONGEST:])
        logger.error("%s\n%s", told, trace)  # noqa: TRY400 - the traceback is shown without what may be a signature
        raise told from None
