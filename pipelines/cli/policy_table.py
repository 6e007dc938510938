"""The policy as text and as JSON, and the sentences about its changes."""

import datetime as dt
import getpass
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from pipelines.cli.terminal import complain, print_table, table_of, tell
from resources.ledger.budget import ACCOUNT, DAY, EVERYTHING, MONTH, Scope
from resources.ledger.counters import spent
from resources.ledger.keys import KeyUse
from resources.ledger.ledger import Ledger
from resources.ledger.policy import InForce, PolicyChange, PolicyEntry
from resources.ledger.policy_settings import ALL, Setting, Value
from resources.ledger.refused_hosts import RefusedHost
from resources.money import to_usd
from resources.orders import Caps


def show(force: InForce, keys: Mapping[str, KeyUse], refused: Sequence[RefusedHost]) -> None:
    """Print the policy in force, and this host's differences.

    Args:
        keys: The use of each account's key, if anybody has stated it.
        refused: The hosts that may not buy.
    """
    table = table_of("setting", "in force", "since", "said by", wraps={"setting", "said by"})
    for setting, value in _all(force).items():
        entry = force.entries.get(setting)
        table.add_row(
            str(setting),
            setting.show(value),
            "-" if entry is None else _when(entry.at)[:10],
            Text(_source(force, setting)),
        )
    for account, use in sorted(keys.items()):
        since = _when(use.since)[:10] if use.since else "-"
        table.add_row(f"key of {account}", str(use.declared), since, Text(str(use.by)))
    print_table(table)
    for one in refused:
        complain(f"refused since {_when(one.since)}, last at {_when(one.at)}: {one.host}: {one.why}")
    if force.refusal is not None:
        complain(force.refusal)


def document(force: InForce, keys: Mapping[str, KeyUse], refused: Sequence[RefusedHost]) -> dict[str, Any]:
    """The same content as JSON; money is exact text in USD."""
    different = {one.setting: one.here for one in force.differences}
    rows = []
    for setting, value in _all(force).items():
        entry = force.entries.get(setting)
        row = _row(setting, value, None if entry is None else entry.at, _source(force, setting))
        if setting in different:
            row["here"] = _plain(setting, different[setting])
        rows.append(row)
    used = [
        {"account": name, "key": use.declared, "since": _iso(use.since or None), "said_by": use.by}
        for name, use in sorted(keys.items())
    ]
    hosts = [{**one._asdict(), "since": _iso(one.since), "at": _iso(one.at)} for one in refused]
    return {
        "policy": rows,
        "keys": used,
        "may_buy": force.refusal is None,
        "may_not_buy": force.refusal,
        "refused_hosts": hosts,
    }


def show_history(entries: Sequence[PolicyEntry]) -> None:
    """Print every change, oldest first."""
    if not entries:
        tell("nothing was changed yet; `dailies policy` shows the policy in force")
        return
    table = table_of("when", "setting", "value", "who", wraps={"setting", "who"})
    for one in entries:
        table.add_row(_when(one.at), str(one.setting), one.setting.show(one.value), Text(one.who))
    print_table(table)


def history_document(entries: Sequence[PolicyEntry]) -> list[dict[str, Any]]:
    """The same content as JSON."""
    return [_row(one.setting, one.value, one.at, one.who) for one in entries]


def changes(ledger: Ledger, changed: Sequence[PolicyChange]) -> list[str]:
    """A sentence about each change, and about each cap that is already exceeded."""
    lines = []
    for setting, before, value in changed:
        was = "was not set" if before is None else f"was {setting.show(before.value)}"
        lines.append(f"{setting} {was}; it is {setting.show(value)} now, on every host")
    return [*lines, *_exceeded(ledger, [change.setting for change in changed])]


def person() -> str:
    """The user and the host that change the policy."""
    return f"{getpass.getuser()} on {socket.gethostname()}"


def _exceeded(ledger: Ledger, settings: Sequence[Setting]) -> list[str]:
    budget = ledger.budget
    day = budget.day(ledger.clock())
    periods = {"max_usd_per_day": (DAY, day), "max_usd_per_month": (MONTH, day[:7])}
    scopes = {
        Scope(*((EVERYTHING, "") if one.account == ALL else (ACCOUNT, one.account)), *periods[one.name]): one
        for one in settings
        if one.name in periods
    }
    with ledger.read() as connection:
        counted = spent(connection, list(scopes), {})
    return [
        f"{setting.show(counted[scope])} is spent or reserved for {scope.key} already, more than {setting} allows: nothing more is "
        "bought. Clips in the queue are still sent; `dailies stop` keeps them there."
        for scope, setting in scopes.items()
        if (cap := budget.cap(scope, Caps())) is not None and counted[scope] > cap
    ]


def _all(force: InForce) -> dict[Setting, Value]:
    """The policy in force, with the defaults of settings that nobody has set."""
    budget = force.budget
    defaults: dict[Setting, Value] = {
        Setting(ALL, "max_usd_per_clip"): budget.per_clip,
        Setting(ALL, "max_usd_per_run"): budget.everything.per_run,
        Setting(ALL, "max_usd_per_day"): budget.everything.per_day,
        Setting(ALL, "max_usd_per_month"): budget.everything.per_month,
        Setting(ALL, "max_request_factor"): budget.request_factor,
        Setting(ALL, "max_hour_factor"): budget.hour_factor,
        Setting(ALL, "timezone"): budget.timezone,
    }
    values = {**force.of_host, **{setting: entry.value for setting, entry in force.entries.items()}}
    return {**defaults, **dict(sorted(values.items()))}


def _source(force: InForce, setting: Setting) -> str:
    entry = force.entries.get(setting)
    if entry is not None:
        return entry.who
    return "this host, when it buys" if setting in force.of_host else "the default"


def _row(setting: Setting, value: Value, at: float | None, who: str) -> dict[str, Any]:
    return {
        "account": None if setting.account == ALL else setting.account,
        "setting": setting.name,
        "set_by": str(setting),
        "value": _plain(setting, value),
        "since": _iso(at),
        "said_by": who,
    }


def _plain(setting: Setting, value: Value) -> Value:
    return str(to_usd(value)) if setting.is_money and isinstance(value, int) else value


def _iso(at: float | None) -> str | None:
    return None if at is None else dt.datetime.fromtimestamp(at, dt.UTC).isoformat(timespec="seconds")


def _when(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d %H:%M}"
