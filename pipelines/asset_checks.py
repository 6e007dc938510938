"""The inventory as hourly asset checks, so that Dagster shows what waits for a person beside the assets.

Jobs that produce clips leave the checks out, since they list the whole bucket.
"""

import json
import time
from collections.abc import Iterator

import dagster as dg

from pipelines.inventory import OF_BUCKET, OF_COPIES, OF_EVENTS, OF_LEDGER, Inventory
from pipelines.lineage import our_asset
from resources.dagster_resources import Production
from resources.inventory.findings import CHECKS, SAMPLE, WAITS_FOR_REVIEW, Finding, Weight
from resources.ledger.ledger import Ledger
from resources.settings import Settings

SEVERITIES = {Weight.WARNING: dg.AssetCheckSeverity.WARN, Weight.ERROR: dg.AssetCheckSeverity.ERROR}
CRON = "17 * * * *"
QUIET_SECONDS = 30.0
"""How long no clip must be logged before the checks follow: one evaluation a batch, not one a clip."""
BUSY_SECONDS = 600.0
"""How often the checks follow while clips keep coming."""
LOOKED_AT = "looked_at"
"""The metadata label that tells when a repeated result was read from the bucket and Dagster."""


@dg.multi_asset_check(
    name="take_inventory",
    description="Checks ledger, bucket and Dagster. Changes nothing and costs nothing.",
    specs=[
        dg.AssetCheckSpec(
            check.name,
            asset=our_asset(check.asset),
            description=f"{check.asks}: there should be none. {check.todo}",
        )
        for check in CHECKS
    ],
    can_subset=True,
)
def take_inventory(
    context: dg.AssetCheckExecutionContext, production: Production
) -> Iterator[dg.AssetCheckResult]:
    """Make the selected checks."""
    selected = {key.name for key in context.selected_asset_check_keys}
    wanted = [check for check in CHECKS if check.name in selected]
    with production.showing_life(context.run.run_id), production.ledger() as ledger:
        settings = production.settings()
        for finding in _inventory(context.instance, production, ledger, settings).take(wanted):
            yield result_of(finding, room=settings.room_url)


def _inventory(
    instance: dg.DagsterInstance, production: Production, ledger: Ledger, settings: Settings
) -> Inventory:
    return Inventory(ledger, production.store, instance, is_copied_here=settings.ledger_backups)


def result_of(finding: Finding, *, room: str) -> dg.AssetCheckResult:
    """Convert a finding into a check result. A check that could not be made is a warning: it is neither failed nor passed."""
    check = finding.check
    unread = finding.unread is not None
    metadata: dict[str, dg.MetadataValue] = {}
    if not unread:
        metadata["number"] = dg.MetadataValue.int(finding.number)
    if finding.keys:
        more = f" and {finding.number - SAMPLE} more" if finding.number > SAMPLE else ""
        metadata["sample"] = dg.MetadataValue.text(", ".join(finding.keys[:SAMPLE]) + more)
        for name, value in finding.facts.items():
            is_time = name.endswith("_at")
            metadata[name] = (
                dg.MetadataValue.timestamp(value) if is_time else dg.MetadataValue.float(float(value))
            )
        if check is WAITS_FOR_REVIEW:
            metadata["room"] = dg.MetadataValue.url(room)
        metadata["details"] = dg.MetadataValue.json(finding.sample)
    return dg.AssetCheckResult(
        passed=finding.is_fine,
        asset_key=our_asset(check.asset),
        check_name=check.name,
        severity=dg.AssetCheckSeverity.WARN if unread else SEVERITIES[check.weight],
        description=str(finding),
        metadata=metadata,
    )


inventory = dg.define_asset_job(
    "inventory",
    selection=dg.AssetSelection.checks_for_assets(*{our_asset(check.asset) for check in CHECKS}),
    description="Checks what waits for a person, which outputs expire soon, and whether ledger and bucket agree.",
)


@dg.sensor(
    name="checks_after_clips",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes the checks without a run: in the first minute, and again after clips, since Dagster calls a check that is "
    "older than the newest clip not evaluated.",
)
def checks_after_clips(
    context: dg.SensorEvaluationContext, production: Production
) -> dg.SensorResult | dg.SkipReason:
    """Make every check in the first minute of a new Dagster. After clips, make the ledger's checks again and repeat other results."""
    now = time.time()
    newest = _newest_event(context.instance)
    if not _are_due(context.cursor, newest, now):
        return dg.SkipReason("every check is newer than the newest clip")
    repeated = _last_results(context.instance)
    with production.ledger() as ledger:
        anew = [check for check in CHECKS if check in OF_LEDGER or check.name not in repeated]
        settings = production.settings()
        findings = _inventory(context.instance, production, ledger, settings).take(anew)
        room = settings.room_url
    made = {finding.check.name: _evaluation(result_of(finding, room=room)) for finding in findings}
    return dg.SensorResult(
        asset_events=list({**repeated, **made}.values()), cursor=json.dumps({"seen": newest, "made": now})
    )


def has_work(instance: dg.DagsterInstance, cursor: str | None) -> bool:
    """Whether a tick would make the checks."""
    return _are_due(cursor, _newest_event(instance), time.time())


def _are_due(cursor: str | None, newest: float, now: float) -> bool:
    """Whether a clip is newer than the checks, and either no clip followed for `QUIET_SECONDS` or the checks are `BUSY_SECONDS` old.

    Args:
        cursor: The newest event that the last checks saw, and their time.
        newest: When the newest event of a checked asset was logged, in seconds since the epoch; 0 if there is none.
        now: Seconds since the epoch.
    """
    if not cursor:
        return True
    last = json.loads(cursor)
    waited = now - newest >= QUIET_SECONDS or now - last["made"] >= BUSY_SECONDS
    return newest > last["seen"] and waited


def _newest_event(instance: dg.DagsterInstance) -> float:
    assets = {our_asset(check.asset) for check in CHECKS}
    events = map(instance.get_latest_materialization_event, assets)
    return max((event.timestamp for event in events if event is not None), default=0.0)


def _last_results(instance: dg.DagsterInstance) -> dict[str, dg.AssetCheckEvaluation]:
    """The last results of the checks that read the bucket or every clip's status, by check, each with its time of reading.

    They are repeated until the next hourly inventory, since making them after each batch would cost more than the batch itself.
    """
    results: dict[str, dg.AssetCheckEvaluation] = {}
    for check in (*OF_BUCKET, *OF_EVENTS, *OF_COPIES):
        key = dg.AssetCheckKey(our_asset(check.asset), check.name)
        record = instance.get_latest_asset_check_evaluation_record(key)
        if record is None or record.evaluation is None:
            continue
        last = record.evaluation
        looked_at = last.metadata.get(LOOKED_AT, dg.MetadataValue.timestamp(record.create_timestamp))
        results[check.name] = dg.AssetCheckEvaluation(
            asset_key=last.asset_key,
            check_name=last.check_name,
            passed=last.passed,
            metadata={**last.metadata, LOOKED_AT: looked_at},
            severity=last.severity,
            description=last.description,
        )
    return results


def _evaluation(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """Convert a result into the event that reports it outside a run."""
    if result.asset_key is None or result.check_name is None:
        raise ValueError("a check of the inventory has no name")
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
    )


hourly_inventory = dg.ScheduleDefinition(
    name="hourly_inventory",
    job=inventory,
    cron_schedule=CRON,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Takes the inventory every hour. It buys nothing, so it is on from the start.",
)
