"""`dailies doctor`: the inventory for a person, and the repairs."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from rich.table import Table
from rich.text import Text

from pipelines.cli import key_use
from pipelines.cli.bucket import bucket_of
from pipelines.cli.stack_state import running_stack
from pipelines.cli.terminal import complain, console, counted, tell
from pipelines.cli.vitals import vitals
from pipelines.inventory import DOCTOR, Inventory, show_lost
from resources.alarms import sender_of, trial_alarm
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.inventory.findings import Finding, Weight
from resources.inventory.ledger_audit import near_their_end, undeclared
from resources.inventory.repairs import Repair, Repairer
from resources.inventory.ways_out import Way, open_ways, ways_out
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.production.bucket_mark import bind_bucket
from resources.settings import Settings, open_ledger
from resources.storage.objects import ObjectStore
from resources.video.confinement import LAYERS
from resources.video.inspector import VideoInspector

STYLES = {Weight.WARNING: "yellow", Weight.ERROR: "red"}


@dataclass
class Examination:
    """The result of `dailies doctor`."""

    findings: list[Finding]
    """The result of every check, after the repairs."""
    repairs: list[Repair] = field(default_factory=list)
    """The repairs that were tried."""
    objects: int | None = None
    """How many objects of takes the bucket has; None if it could not be listed."""
    size: int = 0
    """Their size in bytes."""
    ledger: str = ""
    """The ledger's database and how it is reached."""
    decoder: list[str] | str = field(default_factory=list)
    """The layers around the process that decodes videos, of `resources.video.confinement.LAYERS`; or why it does not start."""
    keys: list[str] = field(default_factory=list)
    """A sentence on each account's key: whether it is dedicated, and how lost answers are settled."""
    key_documents: list[dict[str, Any]] = field(default_factory=list)
    """The facts of `keys` as JSON."""
    ways: list[Way] = field(default_factory=list)
    """The network route of every client."""
    certificates: str = ""
    """The trusted authorities, and the setting that names them."""

    @property
    def is_fine(self) -> bool:
        """Whether no check and no repair is left for a person."""
        return all(finding.is_fine for finding in self.findings)


def examine(settings: Settings, *, repair: bool) -> Examination:
    """Take the inventory, repair what can be repaired, and take it again.

    Args:
        repair: Whether to repair.

    Raises:
        DailiesError: The ledger does not answer.
    """
    with (
        open_ledger(settings) as ledger,
        _dagster(settings) as instance,
        contextlib.ExitStack() as opened,
    ):
        store = _open_store(settings, ledger, opened)
        inventory = Inventory(
            ledger, lambda: _store_or_raise(store), instance, is_copied_here=settings.ledger_backups
        )
        examination = Examination(
            inventory.take(),
            ledger=ledger.whereabouts(),
            decoder=_decoder(),
            keys=[key_use.sentence(settings, ledger, name) for name in settings.account_names],
            key_documents=key_use.documents(settings, ledger),
        )
        if repair and not isinstance(store, DailiesError):
            examination.repairs = _repair(settings, ledger, store, instance, inventory)
            if examination.repairs:
                examination.findings = inventory.take()
        examination.ways, examination.certificates = ways_out(settings), str(settings.network.trust)
        examination.findings.append(open_ways(examination.ways))
        examination.findings.append(undeclared(ledger, settings.account_names))
        if (living := vitals(settings, ledger, instance)) is not None:
            examination.findings.append(living)
        if inventory.stock is not None:
            examination.objects, examination.size = inventory.stock.objects, inventory.stock.size
        return examination


def _decoder() -> list[str] | str:
    with VideoInspector() as looking:
        try:
            return looking.confinement()
        except DailiesError as error:
            return str(error)


def _open_store(
    settings: Settings, ledger: Ledger, opened: contextlib.ExitStack
) -> ObjectStore | DailiesError:
    """The bucket, or the error; the rest of the inventory is taken without it."""
    try:
        store = opened.enter_context(bucket_of(settings)).store
        bind_bucket(ledger, store, buying=False)
    except DailiesError as error:
        return error
    return store


def _store_or_raise(store: ObjectStore | DailiesError) -> ObjectStore:
    if isinstance(store, DailiesError):
        raise store
    return store


@contextlib.contextmanager
def _dagster(settings: Settings) -> Iterator[dg.DagsterInstance | None]:
    """Dagster's storage; None if Dagster was never started here."""
    state = running_stack(settings.home) or {}
    home = os.environ.get("DAGSTER_HOME") or state.get("dagster_home") or settings.home.absolute() / "dagster"
    if not Path(home).is_dir():
        yield None
        return
    os.environ["DAGSTER_HOME"] = str(home)
    with dg.DagsterInstance.get() as instance:
        yield instance


def _repair(
    settings: Settings,
    ledger: Ledger,
    store: ObjectStore,
    instance: dg.DagsterInstance | None,
    inventory: Inventory,
) -> list[Repair]:
    repairs: list[Repair] = []
    scratch = settings.home.absolute() / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    if inventory.stock is not None:
        repairs += Repairer(ledger, store, policy=settings.download_policy, scratch=scratch).repair(
            inventory.stock
        )
    if waiting := near_their_end(ledger):
        repairs += _fetch(_production_of_stack(settings, store), ledger, store, waiting)
    if instance is not None:
        repairs += [Repair(clip, True, "shown in Dagster") for clip in show_lost(ledger, instance)]
    return repairs


def _production_of_stack(settings: Settings, store: ObjectStore) -> Production:
    """The resource with the settings of the stack's runs, since this command's environment may name another sandbox and bucket."""

    class Beside(Production):
        def settings(self) -> Settings:
            return settings

        def store(self) -> ObjectStore:
            return store

    return Beside()


def _fetch(
    production: Production, ledger: Ledger, store: ObjectStore, waiting: list[Attempt]
) -> list[Repair]:
    """Fetch finished generations as a run would; the claim keeps a sensor from doing the same."""

    async def fetch() -> list[Repair]:
        repairs = []
        async with production.engine(ledger, {a.account for a in waiting}) as engine:
            with production.deliverer(engine, store) as deliverer:
                for attempt in waiting:
                    try:
                        await deliverer.deliver(attempt, run_id=DOCTOR)
                    except DailiesError as error:
                        repairs.append(Repair(attempt.subject_key, False, str(error)))
                    else:
                        repairs.append(Repair(attempt.subject_key, True, "fetched"))
        return repairs

    try:
        return asyncio.run(fetch())
    except DailiesError as error:
        return [Repair(a.subject_key, False, str(error)) for a in waiting]


def show(examination: Examination) -> None:
    """Print the result for a person."""
    for repair in examination.repairs:
        mark = ("repaired", "green") if repair.done else ("cannot be repaired", "red")
        console.print(Text.assemble(mark, f" {repair.key}: {repair.text}"), soft_wrap=True)
    _show_findings(examination.findings)
    if examination.objects is not None:
        tell(
            f"{counted(examination.objects, 'object')} of takes in the bucket, {examination.size / 1e6:,.1f} MB"
        )
    tell(f"the ledger is in {examination.ledger}")
    tell(_decoder_sentence(examination.decoder))
    for line in examination.keys:
        tell(line)
    console.print(_way_table(examination.ways))
    tell(f"trusted certificates: {examination.certificates}")
    left = [finding for finding in examination.findings if not finding.is_fine]
    if left:
        complain(
            f"{len(left)} of {counted(len(examination.findings), 'check')} {'needs' if len(left) == 1 else 'need'} you"
        )


def _way_table(ways: list[Way]) -> Table:
    table = Table("way out to", "at", "through", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for way in ways:
        style = "red" if way.problem else ""
        table.add_row(
            Text(way.client, style), Text(way.host, overflow="fold"), Text(way.how, overflow="fold")
        )
    return table


def _decoder_sentence(layers: list[str] | str) -> str:
    if isinstance(layers, str):
        return layers
    missing = [layer for layer in LAYERS if layer not in layers]
    sentence = (
        f"videos are decoded in a separate process, confined by {', '.join(layers) or 'its limits alone'}"
    )
    return sentence + (
        f"; this system does not offer {', '.join(missing)} (docs/delivery.md)" if missing else ""
    )


def _show_findings(findings: list[Finding]) -> None:
    shown: set[str] = set()
    for finding in findings:
        if finding.unread is not None and finding.unread in shown:
            # one reason, such as another ledger's bucket, may prevent several checks
            text = Text.assemble(("?   ", "yellow"), f"{finding.check.name}: could not be checked either")
            console.print(text)
            continue
        shown |= {finding.unread} if finding.unread is not None else set()
        _show_finding(finding)


def _show_finding(finding: Finding) -> None:
    if finding.is_fine:
        console.print(Text.assemble(("ok  ", "green"), finding.check.name))
        return
    style = "yellow" if finding.unread is not None else STYLES[finding.check.weight]
    number = "?" if finding.unread is not None else str(finding.number)
    tell(f"{finding.check.name}: {finding}", mark=f"{number:<3} ", style=style)
    for line in finding.sample:
        tell(f"      {line}")
    if finding.number > len(finding.sample):
        tell(f"      and {finding.number - len(finding.sample)} more")


def document(examination: Examination) -> dict[str, Any]:
    """The result as JSON, with every key."""
    return {
        "fine": examination.is_fine,
        "checks": [
            {
                "check": finding.check.name,
                "asset": finding.check.asset,
                "weight": finding.check.weight.value,
                "fine": finding.is_fine,
                "number": None if finding.unread is not None else finding.number,
                "keys": finding.keys,
                "notes": finding.notes,
                "todo": "" if finding.is_fine else finding.check.todo,
                "unread": finding.unread,
            }
            for finding in examination.findings
        ],
        "mended": [{"key": m.key, "done": m.done, "text": m.text} for m in examination.repairs],
        "objects": examination.objects,
        "size_bytes": examination.size,
        "ledger": examination.ledger,
        "decoder_confined_by": examination.decoder,
        "keys": examination.key_documents,
        "ways_out": [
            {"client": w.client, "host": w.host, "through": w.how, "problem": w.problem or None}
            for w in examination.ways
        ],
        "certificates": examination.certificates,
    }


def try_alarm(settings: Settings) -> None:
    """Send a test alarm.

    Raises:
        DailiesError: No address is set, or the message did not arrive.
    """
    sender_of(settings.alarm_url, settings.alarm_format, settings.network).send(trial_alarm())
    tell("the message was sent; check that it has arrived")
