"""The way of every client out of this machine, and whether it is open."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from resources.errors import ConfigurationError, DailiesError
from resources.inventory.findings import EVERY_WAY_IS_OPEN, Finding, found
from resources.network.proxies import PORTS, Exemption, is_loopback
from resources.network.way_out import Network
from resources.production.output_hosts import closed_hosts
from resources.providers.accounts import AccountSettings
from resources.settings import Settings
from resources.storage.addresses import locate
from resources.storage.connections import NETWORK_ERRORS, Deadline, ProxyError, connect
from resources.storage.download_policy import DownloadPolicy

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 10.0


@dataclass(frozen=True)
class Way:
    """How one client leaves this machine."""

    client: str
    """For a person: an account, `bucket`, `alarms` or `Dagster`."""
    host: str
    """Where to, with its port where that is not the usual one."""
    how: str
    """`direct`, or the proxy; and what decides it."""
    problem: str = ""
    """Why it is closed, empty where it is open."""


def ways_out(settings: Settings) -> list[Way]:
    """Try every way: connect, through the proxy where there is one, and compare the certificate. Nothing is sent.

    Takes 10 seconds at most.
    """
    with ThreadPoolExecutor(max_workers=8) as pool:
        trials = [pool.submit(_tried, *client, settings.network) for client in _clients(settings)]
        tried = [trial.result() for trial in trials]
    return tried + [way for account in settings.accounts_with_key for way in _closed(account, settings)]


def open_ways(ways: list[Way]) -> Finding:
    """What of them is closed."""
    return found(
        EVERY_WAY_IS_OPEN, [(f"{way.client} ({way.host})", way.problem) for way in ways if way.problem]
    )


def route_of(url: str, network: Network) -> str:
    """How an address is reached, for a person."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        way = network.proxies.way_to(parts.scheme, host, parts.port or PORTS[parts.scheme])
    except ConfigurationError:
        return "no way"
    if isinstance(way, Exemption):
        return f"direct (NO_PROXY: {way.written})"
    if way is not None:
        return f"{way} ({way.variable})"
    return "this machine" if is_loopback(host) else "direct"


def _closed(account: AccountSettings, settings: Settings) -> list[Way]:
    closed = closed_hosts(account, settings.download_policy)
    name = f"clips of {account.name}"
    return [
        Way(name, host, route_of(f"https://{host}", settings.network), why) for host, why in closed.items()
    ]


def _clients(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Name, address, and host as it is shown, of each client that is set up."""
    for account in settings.accounts_with_key:
        yield account.name, account.base_url, _host(account.base_url)
    if settings.s3_bucket:
        url = settings.s3_endpoint or f"https://s3.{settings.s3_region}.amazonaws.com"
        yield "bucket", url, _host(url)
    if settings.alarm_url is not None:
        # some webhooks have nothing secret but their host
        yield "alarms", settings.alarm_url.get_secret_value(), "DAILIES_ALARM_URL"
    yield "Dagster", settings.dagster_url, _host(settings.dagster_url)


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _tried(client: str, url: str, shown: str, network: Network) -> Way:
    how = route_of(url, network)
    # whether Dagster runs is looked at elsewhere, and it need not run for this
    problem = "" if client == "Dagster" and how == "this machine" else _problem(url, network)
    if client == "alarms":
        problem = problem.replace(urlsplit(url).hostname or "", "its host")
    return Way(client, shown, how, problem)


def _problem(url: str, network: Network) -> str:
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    policy = DownloadPolicy(allowed_origins=frozenset({origin}), network=network)
    try:
        with Deadline(TOTAL_SECONDS) as deadline:
            connect(locate(f"{origin}/", policy), connect_seconds=CONNECT_SECONDS, deadline=deadline).close()
    except ProxyError as error:
        return str(error)
    except NETWORK_ERRORS as error:
        reason = getattr(error, "verify_message", "") or type(error).__name__
        return f"it cannot be connected to ({reason})"
    except DailiesError as error:
        return str(error).replace("the output's", "its")
    return ""
