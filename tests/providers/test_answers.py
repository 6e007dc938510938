"""Providers' texts and values, made safe and read tolerantly."""

import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from resources.plain import without_queries
from resources.providers import answers
from resources.providers.answers import Scrubber

SECRET = "s3cret-key-0001"


def test_a_message_is_one_short_harmless_line() -> None:
    scrub = Scrubber(SECRET)
    said = scrub.message(
        f"bad\r\n\x1b[31m {SECRET}\u202e\u200b at https://u:p@x.test/a?sig=1#f, see http://y.test"
    )
    assert said == "bad [31m [key] at https://x.test/a see http://y.test"
    assert len(scrub.message("x" * 10**6)) == 500
    assert scrub.message("y" * 600).endswith("…")
    assert scrub.message(None) == scrub.message(5) == scrub.message([]) == ""


def test_a_key_at_the_cut_is_not_shown_in_part() -> None:
    for before in range(480, 501):
        assert "s3cret" not in Scrubber(SECRET).message("x" * before + SECRET)
    for before in range(9985, 10001):
        assert "s3cret" not in Scrubber(SECRET).message(" " * before + SECRET)


def test_a_short_key_damages_nothing() -> None:
    assert Scrubber("id").document(b'{"id": "identity"}') == {"id": "identity"}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 10**5, b'{"a":' * 70 + b"1" + b"}" * 70, b"1" * 5000]
)
def test_an_unreadable_answer_is_none(body: bytes) -> None:
    assert Scrubber(SECRET).document(body) is None


def test_values_that_no_database_stores_are_removed() -> None:
    document = Scrubber(SECRET).document(
        b'{"a": NaN, "b": 1e999, "c": -Infinity, "d": "\\u0000x\\ud800", "e": 1.5}'
    )
    assert document == {"a": None, "b": None, "c": None, "d": "x?", "e": 1.5}


@pytest.mark.slow
def test_a_hostile_megabyte_is_read_in_time() -> None:
    began = time.process_time()
    for text in ("https://" * 120_000, "http://a@" * 110_000, "?" * 10**6, "insufficient " * 70_000):
        Scrubber(SECRET).message(text)
        without_queries(text)
        answers.failure_in_text(text)
        answers.NO_FUNDS.search(text)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x", "x"),
        ({"message": "x"}, "x"),
        ({"error": {"message": "x"}}, "x"),
        ({"detail": [{"loc": ["a"], "msg": "x"}, {"msg": "y"}]}, "x; y"),
        ({"name": "Error"}, ""),
        (7, ""),
    ],
)
def test_the_reason_of_an_error(value: object, text: str) -> None:
    assert answers.reason(value) == text


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0),
        ({"retry-after": " 12.5 "}, 12.5),
        ({"retry-after": "999999999"}, 900),
        ({"retry-after": "31536000.5"}, 900),
        ({"retry-after": "9" * 5_000}, None),
        ({"retry-after": "5, 31536000"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "\u0665"}, None),
        ({"retry-after": "Fri, 02 Jan 2099 03:04:05 GMT"}, 900),
        ({"retry-after": "Fri, 02 Jan 2099 03:04:05 GMT", "date": "Fri, 02 Jan 1970 03:04:00 GMT"}, 900),
        ({"retry-after": "Fri, 99 Jan 99999 03:04:05 GMT"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 02 Jan 2026 03:04:05 GMT", "date": "Fri, 02 Jan 2026 03:04:00 GMT"}, 5),
        ({"retry-after": "Fri, 02 Jan 2026 03:04:00 GMT", "date": "Fri, 02 Jan 2026 03:04:05 GMT"}, 0),
        ({"retry-after": "Fri, 02 Jan 1970 03:04:00 GMT"}, 0),
    ],
)
def test_retry_after_is_seconds_within_a_bound(headers: dict[str, str], seconds: float | None) -> None:
    assert answers.wait_seconds(headers) == seconds


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1795182000123", datetime(2026, 11, 20, 13, 40, 0, 123000, UTC)),
        (1795182000000, datetime(2026, 11, 20, 13, 40, tzinfo=UTC)),
        (17951820000000, None),
        (True, None),
        ("2026-01-02T03:04:05.678901234Z", datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)),
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("2026-01-02T04:04:05+01:00", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, 0, UTC)),
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:59", None),
        (None, None),
        (1767323045, None),
    ],
)
def test_moments_are_read_with_their_zone(text: Any, moment: datetime | None) -> None:
    assert answers.moment(text) == moment


NO_JOB_IDS: list[object] = ["", " ", "a b", "a\n", "\ud800", "..", "x" * 513, True, None, [], {}, -1, 1.5]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("video_68e5:openai/sora-2-pro-t2v", "video_68e5:openai/sora-2-pro-t2v"),
        ("FGcTGqPuBac0Masr9DI8-", "FGcTGqPuBac0Masr9DI8-"),
        (42, "42"),
        *[(value, None) for value in NO_JOB_IDS],
    ],
)
def test_only_valid_job_ids_are_read(value: object, kept: str | None) -> None:
    assert answers.job_id(value) == kept


def test_only_finite_numbers_are_read() -> None:
    assert answers.whole_number("1407") == answers.whole_number(1407) == 1407
    assert [answers.whole_number(value) for value in (True, 1.5, "x", "", None, "9" * 10)] == [None] * 6
    assert answers.amount("0.401240000") == Decimal("0.40124")
    no_amounts: list[object] = [True, -1, float("inf"), "1e5", None, 10**16, {}]
    assert [answers.amount(value) for value in no_amounts] == [None] * 7
    assert answers.dollars(12.34) == 12_340_000
    assert answers.seconds(141000) == 141
    assert answers.seconds(0) is None


@pytest.mark.parametrize(
    ("message", "funds"),
    [
        ("The account does not have enough credits", True),
        ("Insufficient balance", True),
        ("insufficient credits", True),
        ("You've run out of credits.", True),
        ("monthly spend limit reached", True),
        ("Insufficient permissions for this model", False),
        ("the load balancer failed", False),
        ("bad size", False),
    ],
)
def test_texts_that_mean_no_money_are_recognised(message: str, funds: bool) -> None:
    assert bool(answers.NO_FUNDS.search(message)) is funds


def test_media_addresses_are_found() -> None:
    good = "https://x.test/1.mp4?sig=1"
    assert answers.media_urls(
        [good, None, "data:video/mp4;base64,AA", "file:///etc/passwd", {"url": good}]
    ) == (good, good)
    bad: list[object] = [
        "https://",
        "http://[::1",
        "https://x.test/a b",
        "https://x.test/\n",
        "x" * 9000,
        {"url": {"url": 1}},
    ]
    assert answers.media_urls(bad) == ()
