"""The schedule that copies the ledger into the bucket every day, and the job behind it."""

import dagster as dg

from pipelines.failures import explained
from resources.dagster_resources import Production
from resources.production.ledger_copies import remove_old, store_copy

JOB = "ledger_backup"
CRON = "27 3 * * *"


@dg.op(name="copy_ledger", description="Copy the ledger into the bucket, and verify the copy. Costs nothing.")
def copy_ledger(context: dg.OpExecutionContext, production: Production) -> None:
    """Store a copy, restore it, compare it, and remove old ones; a copy that is not verified fails the run."""
    settings = production.settings()
    with explained(), production.showing_life(context.run.run_id), production.ledger() as ledger:
        store = production.store()
        record = store_copy(ledger, store, settings.copied_url, scratch=settings.home.absolute() / "tmp")
        context.log.info(
            "%s (%s bytes) was restored and compared: its journal ends at %s",
            store.uri(record.key),
            f"{record.size:,}",
            record.seq,
        )
        if settings.keep_backups_days is not None:
            removed = remove_old(store, days=settings.keep_backups_days, now=ledger.clock())
            context.log.info("old copies removed: %s", removed)


@dg.job(
    name=JOB,
    description="Copies the ledger into the bucket, restores the copy into a scratch database, and compares it. Costs nothing.",
)
def ledger_backup() -> None:
    """Keep a verified copy of the ledger."""
    copy_ledger()


@dg.schedule(
    name="daily_ledger_backup",
    job=ledger_backup,
    cron_schedule=CRON,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Copies the ledger into the bucket and verifies the copy; copies are kept for DAILIES_KEEP_BACKUPS_DAYS (30). It buys nothing, "
        "so it is on from the start; DAILIES_LEDGER_BACKUPS=off turns it off."
    ),
)
def daily_ledger_backup(production: Production) -> dg.RunRequest | dg.SkipReason:
    """Request a run that copies the ledger, unless the settings turn copies off."""
    settings = production.settings()
    if not settings.ledger_backups:
        return dg.SkipReason("DAILIES_LEDGER_BACKUPS is off")
    if not settings.s3_bucket:
        return dg.SkipReason("no bucket is set")
    return dg.RunRequest()
