"""Checks of a provider's clock, callbacks, uploads and prices, and of the interface itself."""

import struct
import zlib

import httpx

from resources.conformance.checks import check
from resources.conformance.stand import HOOK, JOB_SECONDS, KEY, BrokenPromiseError, Stand, promised
from resources.conformance.wire import answered
from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.network.way_out import Network
from resources.providers.base import FailureKind, Uploaded, UploadFailed
from resources.providers.callbacks import UnverifiedWebhookError
from resources.providers.spec import Connection
from resources.sandbox.front_registry import fronts
from resources.sandbox.server import running_sandbox
from resources.sandbox.settings import SandboxSettings

AHEAD = 3_723.0
OLD_SECONDS = 7_200.0


@check("account", "name", "A client has its account's name and its contract's capabilities.")
async def name(stand: Stand) -> None:
    """The attributes that the ledger and the rules of money read."""
    promised(stand.client.name == stand.spec.name, f"its name is {stand.client.name!r}")
    promised(
        stand.client.capabilities == stand.spec.capabilities, "its capabilities are not those of its PROVIDER"
    )


@check(
    "account",
    "check",
    "A wrong key is a ConfigurationError before anything is bought, a silent provider an UnavailableError.",
)
async def free_request(stand: Stand) -> None:
    """`check` and `balance`."""
    await stand.client.check()
    balance = await stand.client.balance()
    real = stand.workshop.balance_micros(stand.spec.name)
    promised(balance in {None, real}, f"the balance is {real} micro-USD, and it says {balance}")
    with stand.mishap(answered(503)):
        promised(await _error(stand) is UnavailableError, f"HTTP 503: {await _error(stand)}")
    await stand.client.aclose()
    stand.client = stand.connect("another-key-9d2f")
    error = await _error(stand)
    promised(error is ConfigurationError, f"a wrong key: {error and error.__name__}")


async def _error(stand: Stand) -> type[DailiesError] | None:
    try:
        await stand.client.check()
    except DailiesError as error:
        return type(error)
    return None


@check("account", "quote", "A quote equals the provider's charge, or is None.")
async def quote(stand: Stand) -> None:
    """The quote and the charge."""
    quoted = await stand.client.quote(stand.endpoint, stand.order())
    await stand.bought()
    price = stand.jobs[0].price_micros
    promised(quoted in {None, price}, f"it quotes {quoted} micro-USD, and {price} is charged")


@check("clocks", "offset", "The provider's clock is measured by its answers, within seconds.", ahead=AHEAD)
async def offset(stand: Stand) -> None:
    """A provider an hour ahead."""
    await stand.client.check()
    measured = stand.client.clock_offset
    if measured is None:
        raise BrokenPromiseError("after an answer with a Date, the offset is not known")
    fits = measured.low <= AHEAD <= measured.high and measured.high - measured.low <= 10
    promised(fits, f"the clock is {AHEAD:g} s ahead, and it says {measured.low:g} to {measured.high:g}")


@check(
    "clocks",
    "listing",
    "A window by the provider's clock finds its jobs, even if that clock is wrong.",
    needs=lambda capabilities: capabilities.lists_jobs,
    ahead=AHEAD,
)
async def listing_ahead(stand: Stand) -> None:
    """A provider an hour ahead."""
    job_id = await stand.bought()
    stand.pass_by(JOB_SECONDS + 1)
    listed = [one for one in await stand.listed() if one.job_id == job_id]
    promised(len(listed) == 1, "its job is missing")
    off = abs(listed[0].created_at.timestamp() - stand.provider_clock() + JOB_SECONDS + 1)
    promised(off < 1, f"its time is off by {off:g} s")


@check(
    "callbacks",
    "verified",
    "A callback that the provider signed names its job; a changed, foreign or old one is refused.",
    offered=lambda spec: spec.callbacks is not None,
)
async def callbacks(stand: Stand) -> None:
    """A callback of the front, and changed forms of it."""
    make = fronts()[stand.spec.name].report
    if make is None or stand.spec.callbacks is None:
        raise BrokenPromiseError("the front sends no callbacks")
    job_id = await stand.bought("our-name")
    (job,) = stand.jobs
    promised((job.webhook or "").startswith(f"{HOOK}our-name"), f"its POST asked to call {job.webhook}")
    stand.pass_by(JOB_SECONDS + 1)
    now = stand.clock()
    report = make(job, now, KEY)
    headers = {name.lower(): value for name, value in report.headers.items()}
    reader = stand.spec.callbacks(stand.client)
    read = await reader.read(headers, report.body, endpoint=stand.endpoint, now=now)
    promised(read.job_id == job_id, f"the callback is about {job_id}, and was read as {read.job_id}")
    foreign = make(job, now, f"{KEY}x")
    forged = {name.lower(): value for name, value in foreign.headers.items()}
    other = report.body.replace(job.id[-4:].encode(), b"zzzz")
    for what, given, body, at in (
        ("a changed body", headers, other, now),
        ("no headers", {}, report.body, now),
        (
            "a foreign signature",
            {
                **headers,
                **{n: v[:-1] + ("0" if v[-1:] != "0" else "1") for n, v in forged.items() if "sign" in n},
            },
            report.body,
            now,
        ),
        ("an old callback", headers, report.body, now + OLD_SECONDS),
        ("a callback of tomorrow", headers, report.body, now - OLD_SECONDS),
    ):
        try:
            await reader.read(given, body, endpoint=stand.endpoint, now=at)
        except UnverifiedWebhookError:
            continue
        promised(False, f"{what} was accepted")


@check(
    "uploads",
    "kept",
    "A file is uploaded once and its address goes into the request; a failed upload returns its reason and raises nothing.",
    needs=lambda capabilities: capabilities.upload_seconds is not None,
)
async def uploads(stand: Stand) -> None:
    """A picture, over a real socket: its address may be at another host."""
    for name, happens in {"503": answered(503), "200 with a page": answered(200, b"<html>")}.items():
        with stand.mishap(happens):
            failed = await stand.client.upload("a.png", "image/png", b"x")
        promised(isinstance(failed, UploadFailed), f"{name}: {type(failed).__name__}")
    with running_sandbox(SandboxSettings(key=KEY), clock=stand.clock) as running:
        here = Connection(stand.spec.name, running.url + stand.spec.sandbox_path, KEY, Network(), stand.clock)
        client = stand.spec.build(here)
        try:
            uploaded = await client.upload("a.png", "image/png", _picture())
        finally:
            await client.aclose()
        if not isinstance(uploaded, Uploaded):
            raise BrokenPromiseError(f"a picture came out as {uploaded}")
        promised(uploaded.url not in repr(uploaded), "the address is shown")
        async with httpx.AsyncClient(trust_env=False) as anybody:
            fetched = await anybody.get(uploaded.url)
        # an address that only the account may read needs its key
        is_there = fetched.status_code == 401 or fetched.content == _picture()
        promised(is_there, f"the address gives HTTP {fetched.status_code}")


@check(
    "uploads",
    "none",
    "A client without uploads returns a failure of kind INVALID.",
    needs=lambda capabilities: capabilities.upload_seconds is None,
)
async def no_uploads(stand: Stand) -> None:
    """Nothing is sent."""
    failed = await stand.client.upload("a.png", "image/png", b"x")
    fits = isinstance(failed, UploadFailed) and failed.kind is FailureKind.INVALID
    promised(fits, f"an upload came out as {failed}")


def _picture() -> bytes:
    """A black picture of one pixel."""

    def piece(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + piece(b"IHDR", head)
        + piece(b"IDAT", zlib.compress(b"\x00\x00"))
        + piece(b"IEND", b"")
    )
