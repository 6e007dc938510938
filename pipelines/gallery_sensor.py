"""The sensor that updates the selects and the gallery's pages after changes that no run reports, such as verdicts.

Before that, it lets the series' review policies decide about clips that nobody judged in time, and buys ordered finishes that could
not be bought at once.
"""

import json
from dataclasses import dataclass, field

import dagster as dg

from pipelines.assets.gallery import GALLERY, metadata_of, write_pages
from pipelines.select_events import show_selects
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.gallery.pages import look
from resources.gallery.writer import newest_change
from resources.ledger import waiting_clips
from resources.ledger.finishes import buy_ordered, has_ordered
from resources.ledger.ledger import Ledger
from resources.ledger.review_policy import decide_due
from resources.ledger.selects import unshown
from resources.ledger.verdicts import in_words
from resources.production.bucket_mark import BucketMark, bind_bucket
from resources.storage.objects import ObjectStore

GALLERY_SECONDS = 30
PATIENCE_SECONDS = 10.0
"""How long a tick retries a bucket that does not answer. A tick has 60 s, and the next one tries again."""


@dataclass(frozen=True)
class GalleryCursor:
    """The state that the written pages show."""

    change: int = -1
    """The number of the ledger's newest journal entry at that time."""
    look: str = ""
    """The digest of the pages' style and script."""
    pages: dict[str, str] = field(default_factory=dict)
    """Digests of the pages by key."""

    @classmethod
    def read(cls, cursor: str | None) -> "GalleryCursor":
        """Read a cursor; an unreadable one counts as empty."""
        try:
            document = json.loads(cursor or "{}")
            return cls(int(document["change"]), str(document["look"]), dict(document["pages"]))
        except (ValueError, TypeError, KeyError):
            return cls()

    def written(self) -> str:
        """The text of the cursor."""
        return json.dumps({"change": self.change, "look": self.look, "pages": self.pages})


def has_work(production: Production, cursor: str | None) -> bool:
    """Whether the ledger or the pages' look has changed since the pages were written, or a time for review is over."""
    before = GalleryCursor.read(cursor)
    with production.ledger() as ledger:
        change = newest_change(ledger)
        if waiting_clips.due(ledger, most=1) or has_ordered(ledger) or unshown(ledger, most=1):
            return True
    return change != 0 and (change, look()) != (before.change, before.look)


@dg.sensor(
    name="gallery_pages",
    target=[GALLERY],
    minimum_interval_seconds=GALLERY_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Writes the pages of the gallery whose clips have changed, shows circled takes in `selects`, and decides reviews whose "
        "time is over, as their series say. It buys only the finishes of circled drafts that somebody has ordered."
    ),
)
def gallery_pages(
    context: dg.SensorEvaluationContext, production: Production
) -> dg.SensorResult | dg.SkipReason:
    """Make due decisions, and write changed selects and pages."""
    before = GalleryCursor.read(context.cursor)
    try:
        with production.ledger() as ledger:
            _decide(context, production, ledger)
            for clip in show_selects(context.instance, ledger):
                context.log.info("%s: its select has changed", clip)
            change = newest_change(ledger)
            if change == 0 or (change, look()) == (before.change, before.look):
                return dg.SkipReason("the gallery shows everything")
            store = _impatient(production.store())
            bind_bucket(ledger, store, buying=False)
            written = write_pages(production, ledger, store, before.pages)
    except DailiesError as error:
        return dg.SkipReason(str(error))
    event = dg.AssetMaterialization(GALLERY, metadata=metadata_of(written, store))
    return dg.SensorResult(
        asset_events=[event] if written.changed else [],
        cursor=GalleryCursor(change, look(), written.digests).written(),
        skip_reason=dg.SkipReason(f"{len(written.changed)} of {len(written.digests)} pages written"),
    )


def _decide(context: dg.SensorEvaluationContext, production: Production, ledger: Ledger) -> None:
    """Let the policies decide, and buy ordered finishes, unless the ledger is older than its bucket.

    The bucket of an older ledger may have a person's verdict that the policy would overrule.
    """
    if not (waiting_clips.due(ledger, most=1) or has_ordered(ledger)):
        return
    try:
        BucketMark(ledger, production.store()).examine()
    except DailiesError as error:
        context.log.warning("no review is decided: %s", error)
        return
    for one in decide_due(ledger):
        context.log.info("%s: %s", one.clip, in_words(one.verdict))
    if has_ordered(ledger):
        try:
            data, _ = production.checked_data()
        except DailiesError as error:
            context.log.warning("no finish is bought by this host: %s", error)
            return
        for done in buy_ordered(ledger, limits=production.declarations_in(data).renewed):
            context.log.info(
                "%s: its finish %s", done.draft.clip, "is bought" if done.finish else f"waits: {done.why}"
            )


def _impatient(store: ObjectStore) -> ObjectStore:
    patience = min(PATIENCE_SECONDS, store.settings.ride_out_seconds)
    return ObjectStore(store.settings.model_copy(update={"ride_out_seconds": patience}))
