"""Observations of a probe for a person: facts as documented, differences, and facts that no documentation mentions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from resources.catalogue.drift import Drift
from resources.ledger.states import AttemptState
from resources.money import show_usd
from resources.providers.base import ClockOffset, JobStatus
from resources.verification.comparison import Observation, Verdict, compare
from resources.verification.offers import Offer
from resources.verification.probe import Watched
from resources.verification.recorder import Recorder

_SECONDS_OFF = 0.35
"""Seconds by which a clip may differ from the ordered duration: a frame or two at each end."""
_CLOCK_SECONDS = 5.0


@dataclass(frozen=True)
class DeliveredFile:
    """The delivered file."""

    content_type: str
    """The content type that the host sent."""
    size: int
    """Bytes."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    seconds: float
    """Of the picture."""
    audio: bool
    """Whether it has a sound track."""


def findings(
    offer: Offer,
    recorder: Recorder,
    watched: Watched,
    *,
    drift: Iterable[Drift],
    film: DeliveredFile | str | None,
    clock: ClockOffset | None,
) -> list[Observation]:
    """All observations, differences first.

    Args:
        recorder: The exchanges with the provider.
        drift: Differences between the provider's list and the endpoint's entry.
        film: The file, or why it could not be fetched, or None if there was none.
        clock: The offset of the provider's clock.
    """
    observations = [
        *_answers(recorder),
        *_headers(recorder),
        *(
            Observation(f"the catalogue's {d.field}", d.ours, d.theirs, "differs" if d.matters else "new")
            for d in drift
        ),
        *_job(offer, recorder, watched),
        *_money(offer, watched),
        *_listing(watched),
        *_film(offer, watched, film),
        *_clock(clock),
        *(Observation("could not be checked", "", note, "differs") for note in watched.notes),
    ]
    order: list[Verdict] = ["differs", "not seen", "new", "as documented"]
    return sorted(dict.fromkeys(observations), key=lambda finding: order.index(finding.verdict))


def _answers(recorder: Recorder) -> Iterator[Observation]:
    for call in recorder.wire.fields:
        exchanges = recorder.of(call)
        answered = [e for e in exchanges if 200 <= e.status < 300 and e.document is not None]
        differences = [f for e in answered for f in compare(recorder.wire, call, e.document)]
        yield from differences
        for failed in exchanges:
            if not 200 <= failed.status < 300:
                yield Observation(f"{call}: status", "200", f"HTTP {failed.status}", "differs")
            elif failed.document is None:
                yield Observation(f"{call}: body", "JSON", "it cannot be read", "differs")
        if not exchanges:
            yield Observation(f"{call}: the whole call", "", "it was not needed", "not seen")
        elif answered and not any(f.verdict == "differs" for f in differences):
            slowest = max(exchange.seconds for exchange in answered)
            count = f"{len(answered)} {'answer' if len(answered) == 1 else 'answers'}"
            yield Observation(
                f"{call}: fields", "all of them", f"{count}, the slowest in {slowest:.2f} s", "as documented"
            )


def _headers(recorder: Recorder) -> Iterator[Observation]:
    known = recorder.wire.headers
    names = {name for e in recorder.exchanges for name in e.headers if name.startswith("x-")} - known
    names |= {name for e in recorder.exchanges for name in e.headers if name == "retry-after"}
    for name in sorted(names):
        value = next(e.headers[name] for e in recorder.exchanges if name in e.headers)
        yield Observation(f"header {name}", "not mentioned", value, "new")


def _job(offer: Offer, recorder: Recorder, watched: Watched) -> Iterator[Observation]:
    attempt = watched.attempt
    if attempt is None or attempt.job_id is None:
        reason = "nothing was bought" if attempt is None else attempt.reason or f"it is {attempt.state}"
        yield Observation("the submit", "a job", reason, "differs")
        return
    documented = recorder.wire.statuses
    for word, after in watched.words:
        verdict: Verdict = "as documented" if word.strip().lower() in documented else "differs"
        yield Observation(f"state {word!r}", ", ".join(sorted(documented)), f"after {after:.1f} s", verdict)
    state = watched.state
    if state is None:
        yield Observation("the job's end", "completed", "it was not seen", "not seen")
        return
    good = state.status is JobStatus.SUCCEEDED
    status = f"{state.raw_status}{f': {state.error}' if state.error else ''}"
    yield Observation("the job's end", "completed", status, "as documented" if good else "differs")
    served = state.model or attempt.served_model
    if served is None:
        yield Observation("the model that served", offer.endpoint.id, "it names none", "new")
    else:
        same = served == offer.endpoint.id
        yield Observation(
            "the model that served", offer.endpoint.id, served, "as documented" if same else "differs"
        )
    usual = offer.endpoint.usual_seconds
    if state.inference_seconds is not None:
        yield Observation(
            "time at work",
            f"about {usual} s" if usual else "not mentioned",
            f"{state.inference_seconds:.0f} s",
            "as documented" if usual else "new",
        )


def _money(offer: Offer, watched: Watched) -> Iterator[Observation]:
    listed, quoted = offer.listed_micros, offer.quoted_micros
    source = {"listed": " (the catalogue)", "upper_bound": " at most", "unknown": ""}
    documented = f"{show_usd(listed)}{source[offer.endpoint.pricing.basis]}"
    if quoted is None:
        yield Observation("the quote", documented, "it quotes no price", "not seen")
    else:
        fits = quoted == listed or (offer.endpoint.pricing.basis != "listed" and quoted <= (listed or quoted))
        verdict: Verdict = "new" if listed is None else "as documented" if fits else "differs"
        yield Observation("the quote", documented, show_usd(quoted), verdict)
    answered = watched.state.cost_micros if watched.state else None
    if answered is not None:
        yield Observation(
            "the cost in the answer",
            show_usd(_due(offer)),
            show_usd(answered),
            _fits(offer, answered, watched),
        )
    charge = watched.charge
    if charge is None:
        if watched.attempt is not None and watched.attempt.job_id is not None:
            yield Observation(
                "the charge on the bill", show_usd(_due(offer)), "it was not there yet", "not seen"
            )
        return
    shown = f"{show_usd(charge.micros)}, {watched.billed_after or 0:.1f} s after the submit"
    yield Observation(
        "the charge on the bill", show_usd(_due(offer)), shown, _fits(offer, charge.micros, watched)
    )
    if charge.model is not None:
        same = charge.model.casefold() == offer.endpoint.id.casefold()
        verdict = "as documented" if same else "differs"
        yield Observation("the model on the bill", offer.endpoint.id, charge.model, verdict)


def _due(offer: Offer) -> int | None:
    """The expected price: the provider's quote, else the catalogue's price."""
    return offer.listed_micros if offer.quoted_micros is None else offer.quoted_micros


def _fits(offer: Offer, charged: int, watched: Watched) -> Verdict:
    """Whether a charge equals the expected price to the micro-dollar, is below an upper bound, or is 0 for a failure."""
    due, bound = _due(offer) or 0, offer.quoted_micros is None and offer.endpoint.pricing.basis != "listed"
    came = watched.state is not None and watched.state.status is JobStatus.SUCCEEDED
    fits = charged == due or (charged < due and bound) or (charged == 0 and not came)
    return "as documented" if fits else "differs"


def _listing(watched: Watched) -> Iterator[Observation]:
    if watched.attempt is None or watched.attempt.job_id is None:
        return
    if watched.listed_after is None:
        yield Observation("the listing", "the job", "it was not there", "not seen")
        return
    yield Observation(
        "the listing's lag", "not mentioned", f"{watched.listed_after:.1f} s after the submit", "new"
    )
    running = "it shows them" if watched.listed_running else "not seen: the job had ended when it appeared"
    yield Observation("jobs that still run, in the listing", "not mentioned", running, "new")
    if watched.echoes is not None:
        names, shows = watched.echoes
        words = f"our id: {'yes' if names else 'no'}; the request: {'yes' if shows else 'no'}"
        yield Observation("what the listing echoes", "not mentioned", words, "new")


def _film(offer: Offer, watched: Watched, film: DeliveredFile | str | None) -> Iterator[Observation]:
    if film is None:
        return
    outputs = watched.state.outputs if watched.state else ()
    host = urlsplit(outputs[0]).hostname or "" if outputs else ""
    if isinstance(film, str):
        yield Observation("the output", f"a video at {host}", film, "differs")
        return
    yield Observation(
        "the output's host", "not fixed", f"{host}, {film.content_type}, {film.size:,} bytes", "new"
    )
    expected = offer.endpoint.expected(offer.body)
    if expected.width is None:
        yield Observation("the frame", "not mentioned", f"{film.width}x{film.height}", "new")
    else:
        same = (film.width, film.height) == (expected.width, expected.height)
        expected_size = f"{expected.width}x{expected.height}"
        yield Observation(
            "the frame", expected_size, f"{film.width}x{film.height}", "as documented" if same else "differs"
        )
    if expected.duration is not None:
        same = abs(film.seconds - expected.duration) <= _SECONDS_OFF
        yield Observation(
            "the length",
            f"{expected.duration:g} s",
            f"{film.seconds:.2f} s",
            "as documented" if same else "differs",
        )
    if expected.audio is not None:
        words = {True: "sound", False: "no sound"}
        yield Observation(
            "sound",
            words[expected.audio],
            words[film.audio],
            "as documented" if film.audio == expected.audio else "differs",
        )


def _clock(clock: ClockOffset | None) -> Iterator[Observation]:
    if clock is None:
        yield Observation("the clock", "a Date header", "there is none", "differs")
        return
    off = clock.low > _CLOCK_SECONDS or clock.high < -_CLOCK_SECONDS
    shown = f"between {clock.low:+.1f} and {clock.high:+.1f} s from ours"
    yield Observation("the clock", "right", shown, "differs" if off else "as documented")


def went_well(watched: Watched) -> bool:
    """Whether the job succeeded."""
    good_states = {AttemptState.SUCCEEDED, AttemptState.DELIVERED}
    return watched.attempt is not None and watched.attempt.state in good_states
