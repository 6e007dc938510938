"""Log lines as `DAILIES_LOG_FORMAT=json` writes them, with their fields."""

import contextlib
import logging
from collections.abc import Iterator

from resources import log_lines


class _Fields(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[dict[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(log_lines._fields(record))


@contextlib.contextmanager
def lines_of_dailies() -> Iterator[list[dict[str, str]]]:
    """The lines that are written within the block."""
    logger, handler = logging.getLogger("dailies"), _Fields()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield handler.lines
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
