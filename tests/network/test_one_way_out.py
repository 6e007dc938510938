"""Only `resources.network` makes HTTP clients: a client made elsewhere would ignore proxies and certificates."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OWN_WAYS = re.compile(
    r"httpx\.(?:get|post|put|head|request|stream|Client|(?:Async)?HTTPTransport)\(|create_(?:default|ssl)_context\("
    r"|urlopen\(|import requests|HTTPS?Connection\(|boto3\.client\(|\.client\(\s*\"s3\""
)
ALLOWED = {
    # the sandbox calls its own customers back, and imports nothing of the product
    "resources/sandbox/webhooks.py",
    # both are given the network
    "resources/storage/connections.py",
    "resources/storage/s3_client.py",
    # the library uses OpenTelemetry's own variables: no part that decides or buys uses this way
    "resources/traces/collector.py",
}


def sources() -> list[Path]:
    found = [path for room in ("resources", "pipelines") for path in (ROOT / room).rglob("*.py")]
    return [path for path in found if "network" not in path.relative_to(ROOT).parts]


def test_only_the_network_makes_clients() -> None:
    own = {str(path.relative_to(ROOT)) for path in sources() if OWN_WAYS.search(path.read_text())}
    assert own - ALLOWED == set()


@pytest.mark.parametrize("place", sorted(ALLOWED))
def test_every_exception_is_still_needed(place: str) -> None:
    assert OWN_WAYS.search((ROOT / place).read_text()) or "AsyncClient(" in (ROOT / place).read_text()
