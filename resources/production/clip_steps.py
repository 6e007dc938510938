"""One step of an attempt: its log lines name the attempt, and its span joins the attempt's trace."""

import contextlib
from collections.abc import Iterator

from resources.ledger.records import Attempt
from resources.log_lines import about
from resources.providers.base import Accepted, JobState, NotSent, PollFailed, Rejected, SubmitOutcome, Unknown
from resources.traces import spans


@contextlib.contextmanager
def clip_step(
    name: str, attempt: Attempt, *, run_id: str | None = None, submission: str | None = None
) -> Iterator[None]:
    """Do one step of an attempt.

    Args:
        name: The name of the span: `POST`, `poll`, `deliver`.
        submission: The id of the POST, if the step is a POST.
    """
    with (
        about(**attempt.named, run_id=run_id, submission=submission),
        spans.span(name, attempt.traced, submission=submission),
    ):
        yield


def note_outcome(outcome: SubmitOutcome) -> None:
    """Show the outcome of a POST in its span, without the provider's own words."""
    match outcome:
        case Accepted():
            spans.note(outcome="accepted", job_id=outcome.job_id)
        case Rejected():
            spans.note(outcome="rejected", failed=outcome.kind.value)
        case NotSent():
            spans.note(outcome="not_sent", failed="not_sent")
        case Unknown():
            spans.note(outcome="unknown", failed="unknown")


def note_poll(answer: JobState | PollFailed) -> None:
    """Show the result of a poll in its span, without the provider's own words."""
    if isinstance(answer, PollFailed):
        spans.note(failed=answer.kind.value)
    else:
        spans.note(
            status=answer.status.value, failed=answer.failure.value if answer.failure is not None else None
        )


def note_state(attempt: Attempt) -> None:
    """Show the attempt's state in the step's span."""
    spans.note(state=attempt.state.value)
