"""Checks of POSTs: the outcome states only what the answer proves, and nothing is bought twice."""

import httpx

from resources.conformance.checks import check
from resources.conformance.stand import BrokenPromiseError, Stand, promised
from resources.conformance.wire import PAGE, Mishap, answered, cut, instead, lost, never_sent
from resources.providers.base import Accepted, FailureKind, NotSent, Rejected, SubmitOutcome, Unknown

LOST: dict[str, Mishap] = {
    "the connection breaks before the answer": lost(httpx.ReadError("reset by peer")),
    "the connection breaks while the request is written": lost(httpx.WriteError("broken pipe")),
    "no answer comes in time": lost(httpx.ReadTimeout("timed out")),
    "the server hangs up": lost(httpx.RemoteProtocolError("the server disconnected")),
    "the answer breaks off": cut,
    "200 without a body": answered(200),
    "200 with a page": answered(200, PAGE),
    "200 with other JSON": answered(200, b'{"hello": []}'),
    "a redirect": answered(307, headers={"location": "https://elsewhere.example.com/"}),
    "408": answered(408, PAGE),
    "500 with JSON": answered(500, b'{"message": "internal error", "detail": "internal error"}'),
    "502 with a page": answered(502, PAGE),
    "503 without a body": answered(503),
    "504 with a page": answered(504, PAGE),
}
"""Answers that do not name the job although it exists."""
GATEWAY: dict[str, Mishap] = {
    f"a page with HTTP {status}": answered(status, PAGE) for status in (400, 403, 404, 409, 422, 429)
}
UNSENT: dict[str, Exception] = {
    "no connection": httpx.ConnectError("connection refused"),
    "no connection in time": httpx.ConnectTimeout("timed out"),
    "no free connection": httpx.PoolTimeout("timed out"),
    "a proxy that refuses": httpx.ProxyError("407"),
}


@check(
    "posts", "accepted", "A POST that the provider accepts names its job, and the provider has one job more."
)
async def accepted(stand: Stand) -> None:
    """The plain case."""
    job_id = await stand.bought()
    (job,) = stand.jobs
    # the id in the books may be a part of the one that the client builds
    promised(job.id in job_id, f"it named job {job_id}, and the provider has {job.id}")


async def _unknown(stand: Stand, cases: dict[str, Mishap]) -> None:
    for number, (name, happens) in enumerate(cases.items()):
        with stand.mishap(happens, stand.is_post):
            outcome = await stand.submit(f"lost-{number}", f"hill {number}")
        job = stand.jobs[-1]
        if isinstance(outcome, Accepted) and job.id in outcome.job_id:
            continue
        promised(
            isinstance(outcome, Unknown), f"{name}: the job exists, and the outcome was {_kind(outcome)}"
        )


@check("posts", "lost", "A POST without a readable answer, with a 5xx or 408 is Unknown: the job may exist.")
async def lost_answers(stand: Stand) -> None:
    """All ways to lose an answer."""
    await _unknown(stand, LOST)


@check(
    "posts",
    "gateway",
    "A page with a 4xx is not an answer of the API, so the outcome is Unknown.",
)
async def gateways(stand: Stand) -> None:
    """An answer of a proxy before the API."""
    await _unknown(stand, GATEWAY)


@check("posts", "once", "One call sends the paid POST once, with any result, and follows no redirect.")
async def once(stand: Stand) -> None:
    """The client repeats nothing."""
    cases: dict[str, Mishap | None] = {"it was accepted": None, **LOST, **GATEWAY}
    cases |= {name: never_sent(error) for name, error in UNSENT.items()}
    cases["429"] = instead(429, b'{"message": "too many requests"}', {"retry-after": "0"})
    for number, (name, happens) in enumerate(cases.items()):
        before = len(stand.wire.sent)
        with stand.mishap(happens, stand.is_post):
            await stand.submit(f"once-{number}", f"hill {number}")
        sent = stand.wire.sent[before:]
        posts = [one for one in sent if stand.is_post(one)]
        promised(len(posts) == 1, f"{name}: it sent the paid POST {len(posts)} times")
        elsewhere = {one.url.host for one in sent} - {"127.0.0.1"}
        promised(not elsewhere, f"{name}: it went to {', '.join(sorted(elsewhere))}")


@check(
    "posts",
    "not-sent",
    "Only a request that cannot have left is NotSent; a POST after its deadline is not sent.",
)
async def not_sent(stand: Stand) -> None:
    """The outcome that permits a repetition."""
    for name, error in UNSENT.items():
        with stand.mishap(never_sent(error)):
            outcome = await stand.submit()
        promised(isinstance(outcome, NotSent), f"{name}: the outcome was {_kind(outcome)}")
    late = await stand.client.submit(stand.endpoint, stand.order(), submission_id="late", deadline_seconds=0)
    promised(isinstance(late, NotSent), f"the deadline had passed: the outcome was {_kind(late)}")
    promised(not stand.jobs, "a job exists")


@check("posts", "refused", "A refusal of the API is Rejected with its kind, and creates nothing.")
async def refused(stand: Stand) -> None:
    """The front's own refusals."""
    wrong = await stand.submit(prompt=" ")
    # some APIs take everything, and judge parameters when the job begins
    later = isinstance(wrong, Accepted) and len(stand.jobs) == 1
    if not later:
        await _refused(stand, "a wrong parameter", wrong, FailureKind.INVALID)
    stand.fault({"do": "throttle", "retry_after": 7}, "submit", times=1)
    throttled = await stand.submit()
    await _refused(stand, "too many requests", throttled, FailureKind.THROTTLED, known=later)
    waits = throttled.retry_after if isinstance(throttled, Rejected) else None
    promised(waits == 7, f"Retry-After said 7 seconds, and the outcome says {waits}")
    await stand.client.aclose()
    stand.client = stand.connect("another-key-9d2f")
    await _refused(stand, "a wrong key", await stand.submit(), FailureKind.AUTH, known=later)


@check(
    "posts",
    "no-funds",
    "A POST of an account without money is Rejected with that kind, and creates nothing.",
    settings={"balance_usd": 0},
)
async def no_funds(stand: Stand) -> None:
    """An empty account."""
    await _refused(stand, "no credit", await stand.submit(), FailureKind.INSUFFICIENT_FUNDS)


async def _refused(
    stand: Stand, what: str, outcome: SubmitOutcome, kind: FailureKind, *, known: int = 0
) -> None:
    if not isinstance(outcome, Rejected) or outcome.kind is not kind:
        raise BrokenPromiseError(f"{what}: the outcome was {_kind(outcome)}")
    promised(len(stand.jobs) == known, f"{what}: a job exists")


@check(
    "posts",
    "local",
    "A request that cannot be written, or whose model cannot exist (empty, `../../admin`), is Rejected with status 0, and nothing is sent.",
)
async def local(stand: Stand) -> None:
    """Requests that must not leave this machine."""
    for what, endpoint, extra in (
        ("a number that is not JSON", stand.endpoint, {"odd": float("nan")}),
        ("an object", stand.endpoint, {"odd": object()}),
        ("an endpoint that is a path", "../../admin", {}),
        ("an empty endpoint", "", {}),
    ):
        outcome = await stand.client.submit(
            endpoint, {**stand.order(), **extra}, submission_id="local", deadline_seconds=60
        )
        fits = isinstance(outcome, Rejected) and outcome.http_status == 0
        promised(fits, f"{what}: the outcome was {_kind(outcome)}")
    promised(not stand.wire.sent, "something was sent")


@check(
    "posts",
    "idempotency",
    "The same POST with the same submission id gets the same job, however often it is sent.",
    needs=lambda capabilities: capabilities.idempotency_seconds is not None,
)
async def idempotency(stand: Stand) -> None:
    """The key goes out with the POST."""
    with stand.mishap(lost(httpx.ReadError("reset by peer")), stand.is_post):
        await stand.submit("keyed")
    named = {await stand.bought("keyed") for _ in range(3)}
    promised(len(stand.jobs) == 1, f"four POSTs under one key made {len(stand.jobs)} jobs")
    promised(len(named) == 1, f"one key named {len(named)} jobs")
    await stand.bought("another")
    promised(len(stand.jobs) == 2, "another key made no new job")


def _kind(outcome: object) -> str:
    kind = getattr(outcome, "kind", None)
    return type(outcome).__name__ + (f" ({kind})" if kind else "")
