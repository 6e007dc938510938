"""The inventory as asset checks, taken every hour, so that what waits for a person shows beside the assets.

Jobs that produce clips leave the checks out, since they list the whole bucket.
"""

from collections.abc import Iterator

import dagster as dg

from pipelines.inventory import Inventory
from resources.dagster_resources import Production
from resources.inventory.findings import CHECKS, SAMPLE, WAITS_FOR_REVIEW, Finding, Weight

SEVERITIES = {Weight.WARNING: dg.AssetCheckSeverity.WARN, Weight.ERROR: dg.AssetCheckSeverity.ERROR}
CRON = "17 * * * *"


@dg.multi_asset_check(
    name="take_inventory",
    description="Checks ledger, bucket and Dagster. Changes nothing and costs nothing.",
    specs=[
        dg.AssetCheckSpec(
            check.name,
            asset=dg.AssetKey(check.asset),
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
    with production.at_work(context.run.run_id), production.ledger() as ledger:
        for finding in Inventory(ledger, production.store, context.instance).take(wanted):
            yield result_of(finding, room=production.settings().room_url)


def result_of(finding: Finding, *, room: str) -> dg.AssetCheckResult:
    """A finding as Dagster shows it. A check that could not be made is a warning: neither an alarm nor all-clear."""
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
        asset_key=dg.AssetKey(check.asset),
        check_name=check.name,
        severity=dg.AssetCheckSeverity.WARN if unread else SEVERITIES[check.weight],
        description=str(finding),
        metadata=metadata,
    )


inventory = dg.define_asset_job(
    "inventory",
    selection=dg.AssetSelection.checks_for_assets(*{dg.AssetKey(check.asset) for check in CHECKS}),
    description="Checks what waits for a person, which outputs expire soon, and whether ledger and bucket agree.",
)


@dg.sensor(
    name="first_inventory",
    minimum_interval_seconds=3600,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes the checks once, without a run, so that they say something before the first hourly inventory.",
)
def first_inventory(
    context: dg.SensorEvaluationContext, production: Production
) -> dg.SensorResult | dg.SkipReason:
    """Make every check in the first minute of a new Dagster."""
    made_before = dg.RunsFilter(job_name="inventory")
    if context.cursor or context.instance.get_runs_count(made_before):
        return dg.SkipReason("the checks have been made before; hourly_inventory goes on")
    with production.ledger() as ledger:
        findings = Inventory(ledger, production.store, context.instance).take()
        room = production.settings().room_url
    return dg.SensorResult(
        asset_events=[_evaluation(result_of(finding, room=room)) for finding in findings], cursor="made"
    )


def _evaluation(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """A result as the event that stands for it outside a run."""
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
