"""`dailies key`: show and set whether each account's key is dedicated, and how its lost answers are settled."""

import datetime as dt
import getpass
from typing import Any

from pipelines.cli.terminal import complain, tell
from resources.ledger import keys
from resources.ledger.keys import KeyUse
from resources.ledger.ledger import Ledger
from resources.settings import Settings, open_ledger


def show_keys(settings: Settings) -> None:
    """Print what the ledger knows about each account's key."""
    with open_ledger(settings) as ledger:
        for name in settings.account_names:
            tell(sentence(settings, ledger, name))


def say_of_key(settings: Settings, account: str, *, dedicated: bool) -> None:
    """Record a person's statement about a key, and print how lost answers are settled now.

    Raises:
        ConfigurationError: There is no such account.
    """
    given = settings.account(account).dedicated
    with open_ledger(settings) as ledger:
        keys.decide(ledger, account, dedicated=dedicated, who=getpass.getuser())
        tell(sentence(settings, ledger, account))
        if dedicated and given is False:
            complain(
                f"{settings.account(account).dedicated_by} is false here, so the next use of {account} makes its key shared again"
            )


def sentence(settings: Settings, ledger: Ledger, account: str) -> str:
    """Describe whether an account's key is dedicated, who said so, and how its lost answers are settled."""
    use = keys.look_up(ledger, account)
    if use.disagrees_with(settings.account(account).dedicated):
        return f"{account}: {keys.disagreement(account, use)}"
    if use.dedicated:
        what = f"{account}: this ledger alone uses the key ({_source(use)})"
        end = f"Does somebody else use it? `dailies key {account} --shared`."
    else:
        what = f"{account}: others may use the key ({_source(use)})"
        end = f"If nobody does: `dailies key {account} --dedicated`."
    return f"{what}. {_consequence(settings, account, use)} {end}"


def documents(settings: Settings, ledger: Ledger) -> list[dict[str, Any]]:
    """The facts as JSON, an entry for each account."""
    return [
        {
            "account": name,
            "dedicated": use.dedicated,
            "said": use.declared,
            "since": use.since or None,
            "by": use.by,
            "hosts_disagree": use.disagrees_with(settings.account(name).dedicated),
        }
        for name in settings.account_names
        for use in (keys.look_up(ledger, name),)
    ]


def _source(use: KeyUse) -> str:
    if use.declared is None:
        return "nobody has said otherwise"
    since = f" since {dt.datetime.fromtimestamp(use.since, dt.UTC):%Y-%m-%d %H:%M} UTC" if use.since else ""
    return f"said by {use.by}{since}"


def _consequence(settings: Settings, account: str, use: KeyUse) -> str:
    if settings.account(account).capabilities.echoes_submission_id:
        return "Its listing names each POST, so a lost answer is settled by that name."
    if use.dedicated:
        return "A lost answer is settled by elimination, and a job that was not ordered here is an alarm."
    if settings.webhook_url is None:
        return (
            "A lost answer is settled if a listed job shows its request, or held for a person: no callback can name its job "
            "(DAILIES_WEBHOOK_URL is not set)."
        )
    return "A lost answer is settled by a callback or by a listed job that shows its request, or held for a person."
