"""Findings of the inventory: an exact number, sample keys, and what a person does about it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

SAMPLE = 20
"""Most keys that a finding names; its number is always exact."""


class Weight(StrEnum):
    """The weight of a finding."""

    WARNING = "warning"
    """A person should look at it."""
    ERROR = "error"
    """Money or a paid clip is at risk until a person acts."""


@dataclass(frozen=True)
class Audit:
    """One question about the inventory."""

    name: str
    """Also the name of the asset check, e.g. `no_failed_clips`."""
    asset: str
    """The Dagster asset that shows it."""
    asks: str
    """What it counts, as one sentence."""
    weight: Weight
    """The weight of a finding."""
    todo: str
    """What a person does about a finding."""
    repairs: bool = False
    """Whether `dailies doctor` can repair it."""


@dataclass(frozen=True)
class Finding:
    """The result of one audit."""

    check: Audit
    """The question."""
    keys: list[str] = field(default_factory=list)
    """All keys that were found: clips, accounts or objects."""
    notes: dict[str, str] = field(default_factory=dict)
    """One sentence for some of them, by key."""
    facts: dict[str, float] = field(default_factory=dict)
    """Figures besides the number, by name, e.g. `cost_usd`; `..._at` are seconds since the epoch."""
    unread: str | None = None
    """Why the audit was not possible, None if it was."""

    @property
    def number(self) -> int:
        """The exact number."""
        return len(self.keys)

    @property
    def is_fine(self) -> bool:
        """Whether the audit was possible and found nothing."""
        return not self.keys and self.unread is None

    @property
    def sample(self) -> list[str]:
        """The first keys, each with its note."""
        return [f"{key}: {self.notes[key]}" if self.notes.get(key) else key for key in self.keys[:SAMPLE]]

    def __str__(self) -> str:
        """The finding and what to do, for a person."""
        if self.unread is not None:
            return f"could not be checked: {self.unread}"
        if not self.keys:
            return f"{self.check.asks}: none"
        return f"{self.check.asks}: {self.number}. {self.check.todo}"


def found(check: Audit, notes: Iterable[tuple[str, str]]) -> Finding:
    """A finding from keys, each with a sentence or an empty text."""
    pairs = list(notes)
    return Finding(check, [key for key, _ in pairs], {key: note for key, note in pairs if note})


NO_FAILED_CLIPS = Audit(
    "no_failed_clips",
    "uploaded_videos",
    "Clips whose newest purchase failed, or whose file failed a check",
    Weight.WARNING,
    "`dailies status --failed` says why; `dailies retry` buys them again, `dailies accept` keeps a file that failed a check.",
)
WAITS_FOR_REVIEW = Audit(
    "waits_for_review",
    "uploaded_videos",
    "Clips that wait for a person's verdict, because their series asks for one",
    Weight.WARNING,
    "Judge them in the room (`dailies room`), or with `dailies takes CLIP` and `dailies circle`.",
)
WAITS_FOR_FINISH = Audit(
    "waits_for_finish",
    "uploaded_videos",
    "Circled drafts whose finish is not bought",
    Weight.WARNING,
    "`dailies finish` says why, shows the prices and buys them.",
)
NO_DRAFT_NEAR_ITS_END = Audit(
    "no_draft_near_its_end",
    "generations",
    "Drafts that their provider finishes for less than two more days, and that nobody has judged or finished",
    Weight.ERROR,
    "Judge them in the room (`dailies room`), or `dailies finish`. After that, only a new draft can be finished.",
)
NOTHING_UNCLEAR = Audit(
    "nothing_unclear",
    "submissions",
    "Purchases whose outcome is unknown",
    Weight.ERROR,
    "Unknown purchases are searched for automatically; held ones wait for you: `dailies resolve`. Their money counts as spent.",
)
NOTHING_IS_STOPPED = Audit(
    "nothing_is_stopped",
    "submissions",
    "Accounts that are stopped or paused, and hosts that are refused",
    Weight.ERROR,
    "`dailies status` says why; top up, set the right key, or `dailies start`. For a host: `dailies policy`, `dailies data diff`.",
)
EVERY_BILL_IS_BELIEVED = Audit(
    "every_bill_is_believed",
    "submissions",
    "Purchases and accounts with a provider's statement that is not believed or cannot be read",
    Weight.ERROR,
    "`dailies ledger disputed` shows each amount and refund, and settles it; ask the provider about rows that prove nothing.",
)
NO_JOB_IS_OVERDUE = Audit(
    "no_job_is_overdue",
    "generations",
    "Jobs that are overdue",
    Weight.WARNING,
    "Look at the job at the provider. It is polled every five minutes, and its money stays reserved. "
    "`dailies resolve CLIP --write-off` stops waiting, and keeps a later output as a spare take.",
)
NO_REFUND_IS_LATE = Audit(
    "no_refund_is_late",
    "generations",
    "Failed jobs whose charge was not refunded within a day",
    Weight.WARNING,
    "`dailies ledger --check` reads the bill now. Ask the provider for the refund with the job's id (`dailies ledger --csv -`). "
    "The charge counts as spent until the bill shows the refund.",
)
NO_OUTPUT_NEAR_ITS_END = Audit(
    "no_output_near_its_end",
    "generations",
    "Paid outputs that are not fetched and that the provider will soon delete",
    Weight.ERROR,
    "Turn on the account's completion sensor and look at its last tick; `dailies doctor` fetches the outputs now.",
    repairs=True,
)
EVERY_OBJECT_HAS_ITS_MANIFEST = Audit(
    "every_object_has_its_manifest",
    "uploaded_videos",
    "Objects of takes without a manifest",
    Weight.WARNING,
    "A delivery died. The completion sensor finishes it if the clip still waits, and `dailies doctor` removes objects that are "
    "also kept elsewhere. Remove objects of takes that were not bought here yourself.",
    repairs=True,
)
NOTHING_IS_MISSING = Audit(
    "nothing_is_missing",
    "uploaded_videos",
    "Objects of delivered clips that are gone or have changed",
    Weight.ERROR,
    "`dailies doctor` makes manifests, posters and first frames of drafts again, and fetches a video while its provider has it. Else restore the video "
    "in the bucket, or buy another take with `dailies produce SERIES --clip CLIP --regenerate`.",
    repairs=True,
)
EVERY_MANIFEST_IS_KNOWN = Audit(
    "every_manifest_is_known",
    "uploaded_videos",
    "Manifests of takes that the ledger does not know",
    Weight.ERROR,
    "The ledger is older than the bucket: run `dailies ledger rebuild`.",
)
EVERY_END_IS_SHOWN = Audit(
    "every_end_is_shown",
    "uploaded_videos",
    "Ended clips that are not reported to Dagster",
    Weight.WARNING,
    "Turn on the account's completion sensor; `dailies doctor` reports delivered clips.",
    repairs=True,
)

LEDGER_IS_COPIED = Audit(
    "ledger_is_copied",
    "submissions",
    "Ledgers whose newest verified copy in the bucket is older than two days",
    Weight.WARNING,
    "The newest run of the job `ledger_backup` says why; `dailies ledger backup` makes a copy now. DAILIES_LEDGER_BACKUPS=off if you "
    "copy it elsewhere.",
)

EVERYTHING_LIVES = Audit(
    "everything_lives",
    "uploaded_videos",
    "Runs, sensors and processes that should run and do not",
    Weight.ERROR,
    "`dailies up` restarts a dead process within seconds; if it does not, end it with Ctrl-C and start it again. Turn on a sensor in "
    "Dagster, under Automation.",
)
"""No asset check, because the process that runs asset checks may have died. `dailies doctor` and the alarms use it."""

EVERY_WAY_IS_OPEN = Audit(
    "every_way_is_open",
    "submissions",
    "Hosts that cannot be reached, or from which clips cannot be fetched",
    Weight.ERROR,
    "Set the missing proxy, certificates or origins: see docs/network.md.",
)
"""No asset check, because it depends on the machine that runs it. `dailies doctor` uses it."""

EVERY_ACCOUNT_IS_DECLARED = Audit(
    "every_account_is_declared",
    "generations",
    "Accounts with purchases on their way that no file declares, or whose completion sensor is not loaded",
    Weight.ERROR,
    "Nothing of them is polled or fetched: put the account's file back in data/accounts, and reload the code location.",
)
"""No asset check, because it compares with a folder of the machine that runs it. `dailies doctor` and the alarms use it."""

CHECKS = (
    NO_FAILED_CLIPS,
    WAITS_FOR_REVIEW,
    WAITS_FOR_FINISH,
    NOTHING_UNCLEAR,
    NOTHING_IS_STOPPED,
    EVERY_BILL_IS_BELIEVED,
    NO_JOB_IS_OVERDUE,
    NO_REFUND_IS_LATE,
    NO_OUTPUT_NEAR_ITS_END,
    NO_DRAFT_NEAR_ITS_END,
    EVERY_OBJECT_HAS_ITS_MANIFEST,
    NOTHING_IS_MISSING,
    EVERY_MANIFEST_IS_KNOWN,
    EVERY_END_IS_SHOWN,
    LEDGER_IS_COPIED,
)
"""All audits, in the order in which they are shown."""
