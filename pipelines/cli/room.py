"""`dailies room`: serve the page for judging takes, alone or as a process of `dailies up` (`python -m pipelines.cli.room --fd N` or `--port N`)."""

import contextlib
import logging
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from pipelines.cli.bucket import bucket_of
from pipelines.cli.declared import declarations_of, declared_limits, editor_of
from resources.catalogue import Catalogue
from resources.errors import ConfigurationError, DailiesError
from resources.guard import Guard, check_listening
from resources.ledger.approvals import Approval
from resources.ledger.decision_clips import fixed_clips
from resources.ledger.finishes import Limits
from resources.ledger.purchases import purchases_of
from resources.ledger.records import Attempt
from resources.log_lines import use_setting
from resources.money import show_usd
from resources.planning import offer_finish
from resources.planning.purse import CapLine
from resources.production.bucket_mark import bind_bucket
from resources.room.page_requests import RoomHouse
from resources.room.server import RoomServer
from resources.series import load_series
from resources.series.review_rules import load_review_rules
from resources.server_thread import HOST
from resources.settings import Settings, load_settings, open_ledger
from resources.shared_data.source import bring

logger = logging.getLogger("dailies")

AGAIN_SECONDS = 10.0
LOOK_SECONDS = 5.0
"""How long titles of series are kept before the data folder is read again."""


class RetakeShop:
    """Sells retakes through Dagster, and prices finishes.

    Args:
        settings: Reads the present settings, since a data folder may be pushed while the room is open.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self._one_at_a_time = threading.Lock()

    def offer(self, clip: str) -> dict[str, Any]:
        """See `resources.room.page_requests.Shop`."""
        # imports Dagster, which is only needed to buy
        from pipelines.cli.retakes import offer_retake

        offer = offer_retake(self._settings(), clip)
        return {
            "price": offer.price,
            "order_fingerprint": offer.approval.order_fingerprint,
            "at_most_micros": offer.approval.at_most_micros,
            "endpoint": offer.endpoint,
            "is_draft": offer.is_draft,
            "refusal": offer.refusal,
            "caps": [
                {
                    "name": cap.name,
                    "spent": show_usd(cap.spent),
                    "with_it": show_usd(cap.with_it),
                    "cap": show_usd(cap.cap),
                }
                for cap in offer.caps
            ],
        }

    def buy(self, approval: Approval, *, request: str) -> str:
        """See `resources.room.page_requests.Shop`."""
        from pipelines.cli.retakes import buy_retake, offer_retake

        decision = f"retake:{request}"
        with self._one_at_a_time:
            settings = self._settings()
            with open_ledger(settings) as ledger:
                if fixed_clips(ledger, decision) and not purchases_of(ledger, decision).is_nothing:
                    # the first answer was lost; if nothing was bought, the run is requested again as the same decision
                    return decision
            offer = offer_retake(settings, approval.clip)
            difference = approval.difference(offer.approval)
            if offer.refusal is None and difference is not None:
                raise ConfigurationError(f"{difference}. Nothing was bought. Ask again.")
            # the run compares the order with the approval again
            return buy_retake(settings, replace(offer, approval=approval), decision=decision).decision

    def offer_finish(self, draft: Attempt) -> dict[str, Any]:
        """See `resources.room.page_requests.Shop`."""
        settings = self._settings()
        with open_ledger(settings) as ledger:
            offer = offer_finish(ledger, draft, declared_limits(settings, ledger))
        return {
            "price": offer.price,
            "decision": offer.decision,
            "at_most_micros": offer.ceiling,
            "endpoint": offer.request.endpoint if offer.request is not None else "",
            "way": offer.way,
            "refusal": offer.refusal,
            "waits": offer.waits,
            "caps": [_cap(line) for line in offer.caps],
        }

    def limits(self) -> Limits:
        """See `resources.room.page_requests.Shop`."""
        settings = self._settings()
        with open_ledger(settings) as ledger:
            return declared_limits(settings, ledger)


def _cap(line: CapLine) -> dict[str, str]:
    return {
        "name": " ".join(filter(None, (line.scope.of, line.scope.name, line.scope.period))),
        "spent": show_usd(line.spent),
        "with_it": show_usd(line.ceiling),
        "cap": show_usd(line.cap),
    }


@contextlib.contextmanager
def open_room(
    settings: Settings, *, port: int, host: str = HOST, listening: socket.socket | None = None
) -> Iterator[RoomServer]:
    """Serve the room for the duration of the block.

    Args:
        port: 0 picks a free one.
        host: The IP address to listen at.
        listening: A socket to serve instead, which stays open.

    Raises:
        DailiesError: The ledger or the bucket does not answer, they do not belong together, or the port is taken.
    """
    check_listening(host, settings.allowed_hosts)
    if not ip_address(host).is_loopback and settings.room_user_header is None:
        raise ConfigurationError(
            f"at {host} everybody would judge and buy as the user who runs the room. Set DAILIES_ROOM_USER_HEADER to the header in which "
            "the proxy before it names its user (docs/room.md). Nothing was started."
        )
    scratch = settings.home.absolute() / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    with bucket_of(settings) as bucket, open_ledger(settings) as ledger:
        bind_bucket(ledger, bucket.store, buying=False)

        def now() -> Settings:
            return bring(settings, ledger)

        house = RoomHouse(
            ledger,
            bucket.store,
            rules=lambda: load_review_rules(now().data),
            titles=_titles(now, ledger.clock),
            shop=RetakeShop(now),
            scratch=scratch,
            declared=lambda: declarations_of(settings),
            editor=editor_of(settings),
        )
        try:
            server = RoomServer(
                house,
                user_header=settings.room_user_header,
                guard=guard_of(settings),
                port=port,
                host=host,
                listening=listening,
            )
        except OSError as error:
            raise ConfigurationError(
                f"port {port} of {host} cannot be used: {error.strerror}; choose another --port"
            ) from None
        with server:
            yield server


def guard_of(settings: Settings) -> Guard:
    """The guard that decides which requests the room serves.

    Without a header that names people, everybody judges and buys as the user who runs the room. So without it, requests through the
    proxy and by the users allowed at Dagster's port are refused.
    """
    if settings.room_user_header is None:
        return Guard(users=frozenset())
    return Guard(names=settings.allowed_hosts, users=settings.allowed_users)


def _titles(settings: Callable[[], Settings], clock: Callable[[], float]) -> Callable[[], Mapping[str, str]]:
    """The titles of the series, read again every few seconds; a mistake in the data folder costs only the titles."""
    kept: dict[str, str] = {}
    read_at = -LOOK_SECONDS

    def titles() -> Mapping[str, str]:
        nonlocal kept, read_at
        if clock() - read_at >= LOOK_SECONDS:
            read_at = clock()
            with contextlib.suppress(DailiesError):
                data = settings().data
                declared = load_series(data, Catalogue.of(data))
                kept = {name: series.title for name, series in declared.series.items()}
        return kept

    return titles


def show_room(
    settings: Settings, *, port: int, open_it: bool, say: Callable[[str], None], host: str = HOST
) -> None:
    """Serve the room until a signal ends it.

    Raises:
        DailiesError: See `open_room`.
    """
    ended = _ended()
    with open_room(settings, port=port, host=host) as server:
        say(server.url)
        if open_it:
            webbrowser.open(server.url)
        ended.wait()


def keep_room(settings: Settings, *, port: int = 0, listening: socket.socket | None = None) -> None:
    """Serve the room as a process of `dailies up`. It waits for a ledger or bucket that does not answer, since Dagster works without it."""
    ended = _ended()
    while not ended.is_set():
        try:
            with open_room(settings, port=port, listening=listening):
                ended.wait()
        except DailiesError as error:
            logger.warning("the room is closed: %s", error)
            ended.wait(AGAIN_SECONDS)


def _ended() -> threading.Event:
    """Set when a signal asks this process to end."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended


if __name__ == "__main__":
    use_setting()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    number = int(sys.argv[2])
    inherited = socket.socket(fileno=number) if sys.argv[1] == "--fd" else None
    keep_room(load_settings(), port=number, listening=inherited)
