"""The clips that `dailies retry` buys again."""

import datetime as dt
import re
from collections.abc import Sequence

from pipelines.cli.clip_table import spelling_hint
from pipelines.cli.terminal import complain
from resources.errors import ConfigurationError
from resources.ledger.ledger import Ledger
from resources.ledger.newest import Newest, has_bought
from resources.ledger.states import UNDELIVERED, AttemptState
from resources.planning import chosen_purchases
from resources.planning.selectors import RESERVED


def failed_clips(ledger: Ledger, selectors: Sequence[str] = (), *, series: str | None = None) -> list[str]:
    """Clips whose newest purchase failed, oldest first; with selectors, only the clips that they choose.

    A clip whose finish failed is left out, with a note about `dailies finish`, since its draft still exists.

    Raises:
        ConfigurationError: A selector is wrong, or names a clip that did not fail or whose finish failed.
    """
    today = dt.datetime.now(dt.UTC).date()
    failed = chosen_purchases(ledger, selectors, today=today, states=UNDELIVERED, series=series)
    for one in failed:
        if one.finishes is not None:
            said = _failed_finish(one)
            if one.subject_key in selectors:
                raise ConfigurationError(said)
            complain(said)
    failed = [one for one in failed if one.finishes is None]
    known = {one.subject_key for one in failed} | {one.series for one in failed}
    for name in selectors:
        if name in known or not re.fullmatch("[a-z0-9-]+", name) or name in RESERVED:
            continue
        if has_bought(ledger, name) and series in {None, name}:
            continue
        clip = ledger.latest([name]).get(name)
        bought = clip is not None and series in {None, clip.series}
        what = f"is {clip.state.value}" if clip is not None and bought else "was never bought"
        then = "`dailies status` shows all clips" if bought else spelling_hint(ledger, name)
        raise ConfigurationError(f"{name} {what}, so there is nothing to retry; {then}")
    return list(dict.fromkeys(one.subject_key for one in failed))


def _failed_finish(one: Newest) -> str:
    """What a person can do about a clip whose finish failed. Its draft still exists, so there is nothing to retry."""
    clip = one.subject_key
    if one.state is AttemptState.QUARANTINED:
        return f"the finish of {clip} is in quarantine: `dailies accept {clip}`, or `dailies retake {clip}` for another draft"
    return f"the finish of {clip} failed, but its draft still exists: `dailies finish {clip}` buys another finish"
