"""Hostile answers: a client raises only its own errors, shows no key, and stops reading an endless answer."""

import contextlib
import json
import logging
import random
import traceback
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx

from resources.conformance.checks import check
from resources.conformance.stand import JOB_SECONDS, KEY, Stand, promised
from resources.conformance.wire import Forward, Mishap, answered, endless
from resources.errors import DailiesError
from resources.providers.base import Accepted, FailureKind, JobState, Rejected

MOST_BYTES = 33_000_000
"""Most bytes of an answer that a client may read: a list of all models is the longest."""
LONGEST_TEXT = 4_000
DEEP: Any = json.loads("[" * 400 + "]" * 400)
HOSTILE: tuple[Any, ...] = (
    float("nan"),
    float("inf"),
    1e308,
    10**40,
    -(10**20),
    True,
    None,
    "x" * 300_000,
    "\x00\x1b[31m\u202eevil\ud800\n",
    "' OR 1=1 --",
    "javascript:alert(1)",
    "file:///etc/passwd",
    {"a": {"b": ["c"]}},
    DEEP,
)
CANARY = "7f3a91c0de5e"
"""A part of the key."""
RANDOM_ANSWERS = 60
MOST_PATHS = 40
"""Most fields of a call's answers that are changed; a list of models has hundreds of the same kind."""
VALUES_A_PATH = 5


def questions(stand: Stand, job_id: str) -> dict[str, Callable[[], Awaitable[object]]]:
    """Every call of the interface, by its name."""
    client, offers = stand.client, stand.spec.capabilities
    by_name: dict[str, Callable[[], Awaitable[object]]] = {
        "poll": lambda: client.poll(job_id, age_seconds=1e6),
        "check": client.check,
        "balance": client.balance,
        "quote": lambda: client.quote(stand.endpoint, stand.order()),
        "models": client.models,
        "upload": lambda: client.upload("a.png", "image/png", b"x"),
    }
    if offers.lists_jobs:
        by_name["list_jobs"] = stand.listed
    if offers.bills_jobs:
        by_name["charges"] = stand.billed
    # the last one: each submit makes a job, and lists and bills would have hundreds of rows
    by_name["submit"] = lambda: stand.submit("hostile", "a hostile hill")
    return by_name


@check(
    "answers",
    "hostile-values",
    "NaN, huge numbers, long, deep and odd values break no call, and no text or amount is out of bounds.",
)
async def hostile_values(stand: Stand) -> None:
    """Each field of each answer holds some of the values, one at a time."""
    dice = random.Random(7)  # noqa: S311 - repeatable, not secret
    job_id = await stand.bought()
    stand.pass_by(JOB_SECONDS + 1)
    for name, ask in questions(stand, job_id).items():
        for path in await _paths(stand, ask):
            for value in dice.sample(HOSTILE, VALUES_A_PATH):
                with stand.mishap(_spoilt(path, value)):
                    result = await _result_of(ask)
                where = f"{name}, {'.'.join(map(str, path))} = {_short(value)}"
                _is_bounded(result, where)


@check("answers", "random", "For any status with any JSON or bytes, a call returns one of its own types.")
async def random_answers(stand: Stand) -> None:
    """Answers made of the front's own field names."""
    job_id = await stand.bought()
    stand.pass_by(JOB_SECONDS + 1)
    dice = random.Random(1)  # noqa: S311 - repeatable, not secret
    statuses = (200, 201, 202, 204, 302, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 504)
    refusing = {400, 401, 402, 403, 404, 409, 413, 422, 429}
    for name, ask in questions(stand, job_id).items():
        names = sorted({str(part) for path in await _paths(stand, ask) for part in path})
        for _ in range(RANDOM_ANSWERS):
            status, body = dice.choice(statuses), _random_body(dice, names)
            with stand.mishap(
                answered(status, body, {"retry-after": dice.choice(["0", "soon", "1e9", "-5"])})
            ):
                result = await _result_of(ask)
            where = f"{name}, HTTP {status} with {body[:80]!r}"
            _is_bounded(result, where)
            if isinstance(result, Rejected):
                promised(
                    status in refusing or status < 300,
                    f"{where}: a job may exist, and the outcome was Rejected",
                )
            if isinstance(result, JobState) and result.status.final:
                promised(
                    status < 300 or status in {404, 410}, f"{where}: the job was read as {result.status}"
                )


@check("answers", "endless", "A call gives up an endless answer, and reads at most some megabytes of it.")
async def endless_answers(stand: Stand) -> None:
    """Each call gets an answer without an end."""
    job_id = await stand.bought()
    for name, ask in questions(stand, job_id).items():
        for status in (200, 400):
            read: list[int] = []
            with stand.mishap(endless(read, status)):
                result = await _result_of(ask)
            promised(
                sum(read) <= MOST_BYTES,
                f"{name}: it read {sum(read) // 10**6} MB of an answer without an end",
            )
            promised(
                not isinstance(result, Accepted | Rejected) or status == 200,
                f"{name}: {type(result).__name__} on an answer without an end",
            )


@check("answers", "secrets", "No outcome, error or log shows the key, even if the provider echoes it.")
async def secrets(stand: Stand) -> None:
    """Each field of each answer, and a header, hold the key."""
    job_id = await stand.bought()
    stand.pass_by(JOB_SECONDS + 1)
    heard = _Heard()
    root = logging.getLogger()
    level = root.level
    root.addHandler(heard)
    root.setLevel(logging.DEBUG)
    try:
        for name, ask in questions(stand, job_id).items():
            paths = await _paths(stand, ask)
            echoes = [
                _spoilt(path, value) for path in paths for value in (KEY, f"https://x.test/?key={KEY}&t=1")
            ]
            document = json.dumps(
                {"message": f"Invalid API key {KEY}", "detail": KEY, "error": {"message": KEY}, KEY: KEY}
            )
            escaped = document.replace(KEY, "".join(f"\\u{ord(char):04x}" for char in KEY))
            for status in (200, 400, 401, 403, 404, 429, 500):
                echoes += [
                    answered(status, text.encode(), {"x-echo": f"Bearer {KEY}"})
                    for text in (document, escaped)
                ]
            for echo in echoes:
                with stand.mishap(echo):
                    result = await _result_of(ask)
                promised(CANARY not in _shown(result), f"{name}: the key is in {type(result).__name__}")
        promised(
            CANARY not in f"{stand.client!r} {vars(stand.client)!r}", "the key is in the client's own text"
        )
        promised(CANARY not in "".join(heard.lines), "the key is in the log")
    finally:
        root.removeHandler(heard)
        root.setLevel(level)


@check(
    "answers",
    "key-stays",
    "The key goes to the provider's own address only, in every request to it and in no address.",
)
async def key_stays(stand: Stand) -> None:
    """The recipients of the key in every call."""
    job_id = await stand.bought()
    for ask in questions(stand, job_id).values():
        await _result_of(ask)
        with stand.mishap(answered(302, headers={"location": "https://elsewhere.example.com/"})):
            await _result_of(ask)
    for sent in stand.wire.sent:
        promised(CANARY not in str(sent.url), f"the key is in the address of {sent.call}")
        keyed = any(CANARY in value for value in sent.headers.values())
        promised(not keyed or sent.url.host == "127.0.0.1", f"the key went to {sent.url.host}")


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


async def _result_of(ask: Callable[[], Awaitable[object]]) -> object:
    """The result of a call; errors that the interface allows count as results."""
    try:
        return await ask()
    except DailiesError as error:
        return error


async def _paths(stand: Stand, ask: Callable[[], Awaitable[object]]) -> list[tuple[str | int, ...]]:
    """The paths of values in a call's JSON answers; of a list, only its first item."""
    paths: set[tuple[str | int, ...]] = set()

    async def keep(_request: httpx.Request, forward: Forward) -> httpx.Response:
        answer = await forward()
        with contextlib.suppress(ValueError):
            paths.update(_leaves(json.loads(answer.content)))
        return answer

    with stand.mishap(keep):
        await _result_of(ask)
    every = sorted(paths, key=str)
    return every if len(every) <= MOST_PATHS else random.Random(7).sample(every, MOST_PATHS)  # noqa: S311 - repeatable, not secret


def _leaves(value: Any, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield before
    if len(before) > 6:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, (*before, name))
    elif isinstance(value, list) and value:
        yield from _leaves(value[0], (*before, 0))


def _spoilt(path: tuple[str | int, ...], value: Any) -> Mishap:
    async def happen(_request: httpx.Request, forward: Forward) -> httpx.Response:
        answer = await forward()
        try:
            document = _set(json.loads(answer.content), path, value)
            # sends NaN, lone surrogates and deep nesting as a careless provider would
            content = json.dumps(document).encode()
        except (ValueError, RecursionError):
            return answer
        return httpx.Response(
            answer.status_code, content=content, headers={"content-type": "application/json"}
        )

    return happen


def _set(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    at = document
    for part in path[:-1]:
        try:
            at = at[part]
        except (KeyError, IndexError, TypeError):
            return document
    with contextlib.suppress(KeyError, IndexError, TypeError):
        at[path[-1]] = value
    return document


def _random_body(dice: random.Random, names: list[str]) -> bytes:
    if dice.random() < 0.15:
        return dice.randbytes(dice.randrange(200))

    def value(depth: int) -> Any:
        kind = dice.randrange(8 if depth < 4 else 5)
        if kind >= 6:
            return {dice.choice(names or ["id"]): value(depth + 1) for _ in range(dice.randrange(6))}
        if kind == 5:
            return [value(depth + 1) for _ in range(dice.randrange(4))]
        words = ["completed", "failed", "succeeded", "deleted", "a1", "https://x.test/v.mp4?sig=1", "200", ""]
        return [
            dice.choice([0, -1, 200, 401, 10**40, 1e308, True]),
            None,
            dice.choice(words),
            float("nan"),
            dice.random(),
        ][kind]

    return json.dumps(value(0)).encode()


def _is_bounded(result: object, where: str) -> None:
    raw = getattr(result, "raw", None)
    try:
        json.dumps(raw, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        promised(False, f"{where}: the kept answer cannot be stored ({error})")
    for name in ("message", "cause", "error", "raw_status", "model"):
        text = getattr(result, name, None)
        if isinstance(text, str):
            promised(len(text) <= LONGEST_TEXT, f"{where}: `{name}` has {len(text)} characters")
            promised(text.isprintable(), f"{where}: `{name}` has characters that must not reach a terminal")
    job_id = getattr(result, "job_id", None)
    if isinstance(job_id, str):
        fits = 0 < len(job_id) <= 512 and job_id.isprintable() and " " not in job_id
        promised(fits, f"{where}: the job's id is {_short(job_id)}")
    if isinstance(result, JobState):
        cost = result.cost_micros
        promised(cost is None or 0 <= cost < 10**15, f"{where}: the cost is {cost}")
        odd = [url for url in result.outputs if not url.startswith(("http://", "https://"))]
        promised(not odd, f"{where}: an output is {odd[:1]}")
        wants = result.failure is not None
        promised(
            wants is (result.status in {"failed", "gone"}),
            f"{where}: {result.status} because of {result.failure}",
        )
    if isinstance(result, Rejected):
        promised(isinstance(result.kind, FailureKind), f"{where}: Rejected of kind {result.kind!r}")
        wait = result.retry_after
        promised(wait is None or 0 <= wait <= 86_400, f"{where}: it is to wait {wait} s")
    if isinstance(result, int) and not isinstance(result, bool):
        promised(0 <= result < 10**16, f"{where}: the amount is {result}")


def _shown(thing: object) -> str:
    text = f"{thing!r} {thing}"
    if isinstance(thing, BaseException):
        text += "".join(traceback.format_exception(thing)) + repr(thing.__context__) + repr(thing.__cause__)
    return text


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
