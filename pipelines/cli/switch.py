"""`dailies stop` and `dailies start`."""

import getpass

from pipelines.cli.terminal import complain, counted, tell
from resources.ledger import pauses, queue, stops
from resources.settings import Settings, open_ledger


def stop_buying(settings: Settings, account: str | None, reason: str) -> None:
    """Stop all buying, or that of one account, and print how many clips wait.

    Raises:
        ConfigurationError: There is no such account.
    """
    name = _account_name(settings, account)
    with open_ledger(settings) as ledger:
        stop = stops.stop(ledger, reason=reason, account=name)
        names = settings.account_names if account is None else (account,)
        waiting = sum(queue.queue_length(ledger, name) for name in names)
    complain(str(stop))
    tell(f"{counted(waiting, 'clip')} in the queue; jobs at the providers are still fetched")


def start_buying(settings: Settings, account: str | None) -> None:
    """End a stop and the pauses of accounts, and print what is still stopped.

    Raises:
        ConfigurationError: There is no such account.
    """
    with open_ledger(settings) as ledger:
        ended = stops.start(ledger, account=_account_name(settings, account))
        lifted = pauses.lift(ledger, account=_account_name(settings, account), who=getpass.getuser())
        left = stops.stops(ledger)
    for one in lifted:
        tell(f"the pause of {one.account} is lifted: {one.why}")
    if ended is None and not lifted:
        tell("nothing was stopped" if account is None else f"{account} was not stopped")
    elif ended is not None:
        tell(f"buying resumes; it was stopped because: {ended.reason}")
    for stop in left:
        complain(str(stop))


def _account_name(settings: Settings, account: str | None) -> str:
    if account is None:
        return stops.ALL
    return settings.account(account).name
