"""The whole inventory: checks of the ledger, of the bucket, and of what Dagster shows."""

from collections.abc import Callable, Collection, Sequence

import dagster as dg

from pipelines.events import ASSET_OF_STAGE, stage_event
from pipelines.lineage import PROMPTS, UPLOADED_VIDEOS, ShownEvents, latest
from pipelines.partitions import add_clips, clips
from pipelines.prompt_batch import prompt_event
from pipelines.select_events import report_selects
from resources.errors import DailiesError
from resources.inventory import findings
from resources.inventory.bucket_audit import Stock, take_stock
from resources.inventory.copies_audit import check_copies
from resources.inventory.findings import CHECKS, Audit, Finding, found
from resources.inventory.ledger_audit import check_ledger, unreported
from resources.ledger import deliveries
from resources.ledger.ledger import Ledger
from resources.ledger.newest import pages, reported_deliveries
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.settings import MIN_KEPT_DAYS
from resources.storage.objects import ObjectStore

DOCTOR = "doctor"
"""The run id in the ledger when `dailies doctor` did the work of a run."""

OF_BUCKET = (
    findings.EVERY_OBJECT_HAS_ITS_MANIFEST,
    findings.NOTHING_IS_MISSING,
    findings.EVERY_MANIFEST_IS_KNOWN,
)
OF_EVENTS = (findings.EVERY_END_IS_SHOWN,)
OF_COPIES = (findings.LEDGER_IS_COPIED,)
OF_LEDGER = tuple(check for check in CHECKS if check not in (*OF_BUCKET, *OF_EVENTS, *OF_COPIES))


class Inventory:
    """Checks ledger, bucket and Dagster. A service that does not answer costs only its own checks.

    Args:
        store: Opens the bucket, or raises the reason why there is none.
        instance: Dagster; None if there is none.
        is_copied_here: Whether the ledger should have copies in the bucket.

    Attributes:
        stock: The comparison of bucket and ledger; None until it was made.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: Callable[[], ObjectStore],
        instance: dg.DagsterInstance | None,
        *,
        is_copied_here: bool,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._instance = instance
        self._is_copied_here = is_copied_here
        self.stock: Stock | None = None

    def take(self, selected: Sequence[Audit] = CHECKS) -> list[Finding]:
        """Make the wanted checks, in the order of `CHECKS`."""
        made: dict[str, Finding] = {}
        for checks, look in (
            (OF_LEDGER, lambda: check_ledger(self._ledger)),
            (OF_BUCKET, self._bucket_findings),
            (OF_EVENTS, self._event_findings),
            (OF_COPIES, self._copy_findings),
        ):
            if any(check in selected for check in checks):
                made |= {finding.check.name: finding for finding in _tried(checks, look)}
        return [made[check.name] for check in CHECKS if check in selected]

    def _bucket_findings(self) -> list[Finding]:
        self.stock = take_stock(self._ledger, self._store())
        return self.stock.findings()

    def _copy_findings(self) -> list[Finding]:
        if not self._is_copied_here:
            return [found(findings.LEDGER_IS_COPIED, [])]
        return [check_copies(self._ledger, self._store())]

    def _event_findings(self) -> list[Finding]:
        if self._instance is None:
            raise DailiesError("Dagster was never started here, or DAGSTER_HOME is not set")
        partitions = set(self._instance.get_dynamic_partitions(clips.name or "clips"))
        deleted = ", and its partition was deleted; the completion sensor adds it again"
        lost = [
            (
                a.subject_key,
                f"{a.state.value}, and no run has reported it{'' if a.clip in partitions else deleted}",
            )
            for a in unreported(self._ledger)
        ]
        known = {clip for clip, _ in lost}
        not_green = [a for a in unshown(self._ledger, self._instance) if a.subject_key not in known]
        lost += [(a.subject_key, "delivered, but not green in Dagster") for a in not_green]
        return [found(findings.EVERY_END_IS_SHOWN, lost)]


def unshown(ledger: Ledger, instance: dg.DagsterInstance) -> list[Attempt]:
    """Delivered clips that a run reported but that are not green in Dagster, since their events were lost.

    Clips without a partition that were delivered more than `MIN_KEPT_DAYS` ago are left out: the retention removed them.
    """
    partitions = set(instance.get_dynamic_partitions(clips.name or "clips"))
    expected_since = ledger.clock() - MIN_KEPT_DAYS * 86_400
    delivered = {
        clip: attempt
        for clip, attempt, delivered_at in reported_deliveries(ledger)
        if clip in partitions or delivered_at > expected_since
    }
    status = instance.get_status_by_partition(UPLOADED_VIDEOS, list(delivered), clips) if delivered else {}
    shown = {clip for clip, word in (status or {}).items() if word is not None and word.value != "FAILED"}
    lost = [attempt for clip, attempt in delivered.items() if clip not in shown]
    return [attempt for page in pages(ledger, lost) for attempt in page]


def show_lost(ledger: Ledger, instance: dg.DagsterInstance) -> list[str]:
    """Log delivered clips whose events Dagster never got or has lost; returns the clips.

    A failed clip cannot be logged outside a run; the completion sensor requests a run for it.
    """
    delivered = [a for a in unreported(ledger) if a.state is AttemptState.DELIVERED]
    newest = ledger.latest_takes([a.subject_key for a in delivered])
    delivered = [a for a in delivered if newest[a.take_slot].id == a.id]
    lost = {a.subject_key: a for a in (*unshown(ledger, instance), *delivered)}
    show_delivered(instance, ledger, lost.values())
    deliveries.mark_reported(ledger, [a.id for a in delivered], DOCTOR)
    return list(lost)


def show_delivered(instance: dg.DagsterInstance, ledger: Ledger, takes: Collection[Attempt]) -> None:
    """Log takes in the assets without a run, and add missing partitions of their clips."""
    if takes:
        add_clips(instance, ledger, [take.clip for take in takes])
    for take in takes:
        if latest(instance, PROMPTS, take.clip) is None:
            instance.report_runless_asset_event(prompt_event(instance, take.request, None))
        for stage in ASSET_OF_STAGE:
            instance.report_runless_asset_event(stage_event(ShownEvents(instance), stage, take))
    report_selects(instance, ledger, [take.clip for take in takes])


def _tried(checks: Sequence[Audit], look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except DailiesError as error:
        return [Finding(check, unread=str(error)) for check in checks]
