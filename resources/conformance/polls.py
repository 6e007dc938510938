"""Checks of polls: a job ends only if the provider states it for this job."""

import httpx

from resources.conformance.checks import check
from resources.conformance.stand import JOB_SECONDS, BrokenPromiseError, Stand, promised
from resources.conformance.wire import PAGE, Forward, Mishap, answered, cut, lost
from resources.providers.base import FailureKind, JobState, JobStatus, PollFailed

NEW_WORD = "contemplating"
SILENT: dict[str, Mishap] = {
    "the connection breaks": lost(httpx.ReadError("reset by peer")),
    "no answer comes in time": lost(httpx.ReadTimeout("timed out")),
    "the answer breaks off": cut,
    "200 without a body": answered(200),
    "200 with a page": answered(200, PAGE),
    "200 with an empty object": answered(200, b"{}"),
    "a page with HTTP 403": answered(403, PAGE),
    "a page with HTTP 404": answered(404, PAGE),
    "429": answered(429, b'{"message": "too many requests"}'),
    "500 with JSON": answered(500, b'{"message": "failed", "status": "failed", "detail": "failed"}'),
    "502 with a page": answered(502, PAGE),
    "503": answered(503),
}


async def _state(stand: Stand, job_id: str, age: float = 10) -> JobState:
    state = await stand.client.poll(job_id, age_seconds=age)
    if isinstance(state, PollFailed):
        raise BrokenPromiseError(f"a poll that the front answers failed: {state.cause}")
    return state


@check(
    "polls",
    "states",
    "A job runs, then succeeds with an address; a failed one says why; one without output fails.",
)
async def states(stand: Stand) -> None:
    """The course of three jobs."""
    good = await stand.bought("good", "good")
    stand.fault({"do": "fail", "error": "no GPU"}, "submit", prompt_contains="bad")
    bad = await stand.bought("bad", "bad")
    stand.fault({"do": "empty_outputs"}, "submit", prompt_contains="empty")
    empty = await stand.bought("empty", "empty")
    running = await _state(stand, good)
    promised(running.status in {JobStatus.QUEUED, JobStatus.RUNNING}, f"a running job is {running.status}")
    stand.pass_by(JOB_SECONDS + 1)
    finished = await _state(stand, good, JOB_SECONDS)
    fits = (
        finished.status is JobStatus.SUCCEEDED
        and len(finished.outputs) == 1
        and finished.outputs[0].startswith("http")
    )
    promised(fits, f"a finished job is {finished.status} with {len(finished.outputs)} outputs")
    price = stand.jobs[0].price_micros
    promised(
        finished.cost_micros in {None, price},
        f"it cost {price} micro-USD, and the poll says {finished.cost_micros}",
    )
    failed = await _state(stand, bad, JOB_SECONDS)
    fits = (
        failed.status is JobStatus.FAILED and failed.failure is not None and "no GPU" in (failed.error or "")
    )
    promised(fits, f"a failed job is {failed.status} ({failed.failure}) because of {failed.error!r}")
    hollow = await _state(stand, empty, JOB_SECONDS)
    fits = hollow.status is JobStatus.FAILED and hollow.failure is FailureKind.NO_OUTPUT
    promised(fits, f"a job that is completed without an output is {hollow.status} ({hollow.failure})")


@check(
    "polls", "silence", "A missing answer, or one without the job's state, is PollFailed: the job goes on."
)
async def silence(stand: Stand) -> None:
    """All ways in which a poll gives no state."""
    job_id = await stand.bought()
    for name, happens in SILENT.items():
        with stand.mishap(happens):
            state = await stand.client.poll(job_id, age_seconds=1e6)
        ended = isinstance(state, JobState) and state.status.final
        promised(not ended, f"{name}: it read the job as {getattr(state, 'status', None)}")
        if name == "429":
            kind = getattr(state, "kind", None)
            promised(kind is FailureKind.THROTTLED, f"429: the kind was {kind}")
    await stand.client.aclose()
    stand.client = stand.connect("another-key-9d2f")
    refused = await stand.client.poll(job_id, age_seconds=1e6)
    kind = getattr(refused, "kind", None)
    promised(kind is FailureKind.AUTH, f"a wrong key: the poll came out as {type(refused).__name__} ({kind})")


@check("polls", "new-word", "A state with an unknown word means that the job still runs.")
async def new_word(stand: Stand) -> None:
    """A word that the provider added after the client was written."""
    job_id = await stand.bought()
    stand.fault({"do": "status", "word": NEW_WORD}, "poll")
    state = await stand.client.poll(job_id, age_seconds=10)
    ended = isinstance(state, JobState) and state.status.final
    promised(not ended, f"it read {NEW_WORD!r} as {getattr(state, 'status', None)}")


@check(
    "polls",
    "not-known",
    "A 404 of the API counts as no answer while the job is young, and as Gone after that.",
)
async def not_known(stand: Stand) -> None:
    """A job that the provider does not have yet, and one that it has no longer."""
    stand.fault({"do": "not_yet_known", "seconds": 1e9}, "submit")
    job_id = await stand.bought()
    young = await stand.client.poll(job_id, age_seconds=stand.spec.capabilities.propagation_seconds - 1)
    promised(isinstance(young, PollFailed), f"a young job that is not known came out as {_word(young)}")
    old = await stand.client.poll(job_id, age_seconds=1e6)
    gone = isinstance(old, JobState) and old.status is JobStatus.GONE and old.failure is FailureKind.GONE
    promised(gone, f"an old job that is not known came out as {_word(old)}")


@check("polls", "other-job", "An answer that names another job does not count for this one.")
async def other_job(stand: Stand) -> None:
    """The answer of another poll."""
    first, second = await stand.bought("one", "one"), await stand.bought("two", "two")
    stand.pass_by(JOB_SECONDS + 1)
    kept: list[httpx.Response] = []

    async def keep(_request: httpx.Request, forward: Forward) -> httpx.Response:
        kept.append(await forward())
        return kept[-1]

    async def swap(_request: httpx.Request, _forward: Forward) -> httpx.Response:
        answer = kept[min(len(swapped), len(kept) - 1)]
        swapped.append(answer)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    with stand.mishap(keep):
        await stand.client.poll(first, age_seconds=10)
    swapped: list[httpx.Response] = []
    if not any(stand.jobs[0].id.encode() in answer.content for answer in kept):
        return  # its answers name no job
    with stand.mishap(swap):
        state = await stand.client.poll(second, age_seconds=10)
    ended = isinstance(state, JobState) and state.status.final
    promised(not ended, "it accepted the answer about another job")


def _word(state: JobState | PollFailed) -> str:
    return state.status if isinstance(state, JobState) else "PollFailed"
