"""The provider's books in the judge's form: its jobs, their ends and their cost.

The sandbox commits a job, fsynced, before anything that follows from it is answered. Times are seconds of the proof's clock
(see `proof.clock`): times in a provider's answers may be off by minutes, times here are not. Money is micro-dollars.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proof.jobs import End, JobRecord

CLIP = re.compile(r"\[([a-z0-9][a-z0-9-]{2,79})\]")
"""Finds the clip's key in a prompt."""
SOMEBODY_ELSE = "somebody-else"
"""The start of a stranger's ids. A stranger's orders equal ours; only the id of the POST tells them apart here."""
LISTS_ENDED = {"aimlapi", "fal"}
"""Providers whose listing shows no job before its end."""
CHARGES_REFUSALS = {"fal"}
"""Providers that may charge a job which their content checker refuses, and whose bill never shows that it was free."""
SHOWS_ORDERS = {"fal", "replicate"}
"""Providers whose listing shows each job's request."""
USUAL = {"lag", "size"}
"""Rules of the fault script that are no faults."""


@dataclass
class StandInBooks:
    """The books of every provider."""

    jobs: dict[str, JobRecord] = field(default_factory=dict)
    """By id."""
    faults: Counter[str] = field(default_factory=Counter)
    """The number of requests with each fault."""


def read(
    documents: Mapping[str, Mapping[str, Any]], *, off: Mapping[str, float], refund_seconds: float
) -> StandInBooks:
    """Read the answers of the providers' stand-ins to `/admin/books?requests=1`.

    Args:
        documents: The answers, by provider.
        off: The error of each provider's clock, in seconds.
        refund_seconds: Seconds from a failed job's end to its refund.
    """
    books = StandInBooks()
    for provider, document in documents.items():
        for row in document["jobs"]:
            job = _job(row, off.get(provider, 0.0), refund_seconds)
            books.jobs[job.id] = job
            books.faults["stranger's job"] += job.clip is None
        for visit in document["requests"]:
            books.faults.update(name for name in visit["faults"].split(", ") if name and name not in USUAL)
    books.faults = +books.faults
    return books


def _job(row: Mapping[str, Any], off: float, refund_seconds: float) -> JobRecord:
    fate, body, tag = row["fate"], row["body"], row["submission_id"]
    named = None if tag is None or tag.startswith(SOMEBODY_ELSE) else CLIP.search(body.get("prompt", ""))
    at, ends_at = row["received_at"] - off, row["ends_at"] - off
    end: End = "empty" if fate["empty"] else "succeeded"
    if fate["error"]:
        end = "moderated" if "moderated" in fate["faults"] else "failed"
    provider = row["provider"]
    return JobRecord(
        id=row["id"],
        provider=provider,
        model=row["model"],
        clip=named[1] if named else None,
        tag=tag,
        price=row["price_micros"],
        at=at,
        ends_at=ends_at,
        end=end,
        listed_at=at + fate["hidden_seconds"],
        refund_at=ends_at + refund_seconds if provider == "wavespeed" else None,
        lists_running=provider not in LISTS_ENDED,
        named=tag if provider == "aimlapi" else None,
        may_be_charged=end == "moderated" and provider in CHARGES_REFUSALS,
        shown=json.dumps(body, sort_keys=True) if provider in SHOWS_ORDERS else None,
        file=f"/cdn/{row['media']}.mp4",
    )
