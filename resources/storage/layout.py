"""The keys of the bucket, in one place.

| key | what | overwritten |
|---|---|---|
| `prompts/{clip}/{fingerprint}.json` | the rendered request | no |
| `videos/{clip}/{attempt}.mp4` | the clip | no |
| `videos/{clip}/{attempt}.webp` | its poster | no |
| `videos/{clip}/{attempt}.strip.webp` | some of its frames side by side | no |
| `videos/{clip}/{attempt}.json` | its manifest, written last: with it the clip is delivered | no |
| `videos/{clip}/current.json` | which attempt is the current one; the ledger decides, this shows it | yes |
| `frames/{clip}/{sha256}.png` | the first frame of a draft, where its finish begins with it | no |
| `quarantine/{clip}/{attempt}.mp4`, `.webp`, ... | a take that failed a check, kept apart | no |
| `verdicts/{clip}/{verdict}.json` | what a person said of a take of the clip | no |
| `data/{digest}.tar.gz` | a data folder that `dailies data push` has stored | no |
| `backups/ledger/{time}-{ledger}.db.gz` or `.dump` | a copy of the ledger; private, and removed after `DAILIES_KEEP_BACKUPS_DAYS` | no |
| `backups/ledger/{time}-{ledger}.json` | what the copy holds, written after it was restored and compared: with it the copy is verified | no |
| `sheets/{series}/{day}.webp` | the posters of a series' clips of one day, on one picture | yes |
| `gallery/index.html`, `gallery/series/{series}.html` | pages that show every clip | yes |
| `trials/...` | objects of a trial of the bucket, removed at once | yes |
| `ledger.json` | id and high-water mark of the ledger that owns the bucket | yes |
"""

import re
from datetime import UTC, datetime

PROMPTS = "prompts/"
VIDEOS = "videos/"
QUARANTINE = "quarantine/"
SHEETS = "sheets/"
VERDICTS = "verdicts/"
FRAMES = "frames/"
DATA = "data/"
TRIALS = "trials/"
BACKUPS = "backups/ledger/"

_CLIP = re.compile(r"[a-z0-9][a-z0-9-]{2,79}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)
_MANIFEST = re.compile(rf"{VIDEOS}(?P<clip>[^/]+)/(?P<attempt>[^/]+)\.json")
_PICTURE = re.compile(
    rf"(?:{VIDEOS}|{QUARANTINE}){_CLIP.pattern}/{_NAME.pattern}(?:\.strip)?\.webp"
    rf"|{SHEETS}{_NAME.pattern}/{_NAME.pattern}\.webp",
    re.ASCII,
)
_COPY = re.compile(
    rf"{BACKUPS}(?P<name>(?P<time>[0-9]{{8}}T[0-9]{{6}}Z)-[0-9a-f]{{8}})\.(?P<kind>db\.gz|dump|json)",
    re.ASCII,
)
_COPY_TIME = "%Y%m%dT%H%M%SZ"
_CURRENT = "current"


def prompt_key(clip: str, fingerprint: str) -> str:
    """Of a clip's rendered request."""
    return f"{PROMPTS}{_checked(_CLIP, 'clip', clip)}/{_checked(_NAME, 'fingerprint', fingerprint)}.json"


def video_key(clip: str, attempt: str) -> str:
    """Of the clip that an attempt bought."""
    return f"{_take(clip, attempt)}.mp4"


def poster_key(clip: str, attempt: str) -> str:
    """Of its poster."""
    return f"{_take(clip, attempt)}.webp"


def strip_key(clip: str, attempt: str) -> str:
    """Of its strip of frames."""
    return f"{_take(clip, attempt)}.strip.webp"


def manifest_key(clip: str, attempt: str) -> str:
    """Of its manifest."""
    return f"{_take(clip, attempt)}.json"


def verdict_key(clip: str, verdict: str) -> str:
    """Of a person's verdict on a take of a clip."""
    return f"{VERDICTS}{_checked(_CLIP, 'clip', clip)}/{_checked(_NAME, 'verdict', verdict)}.json"


def frame_key(clip: str, digest: str) -> str:
    """Of the first frame of a draft of a clip, by the SHA-256 of the picture."""
    return f"{FRAMES}{_checked(_CLIP, 'clip', clip)}/{_checked(_NAME, 'digest', digest)}.png"


def data_key(digest: str) -> str:
    """Of the archive of a data folder."""
    return f"{DATA}{_checked(_NAME, 'digest', digest)}.tar.gz"


def copy_key(at: float, ledger: str, kind: str) -> str:
    """Of a copy of a ledger, or of its record.

    Args:
        at: When it was made, seconds since the epoch.
        ledger: The ledger's id.
        kind: `db.gz` for SQLite, `dump` for PostgreSQL, `json` for the record.
    """
    time = datetime.fromtimestamp(at, UTC).strftime(_COPY_TIME)
    return f"{BACKUPS}{time}-{_checked(_NAME, 'ledger', ledger)[:8]}.{kind}"


def copy_of(key: str) -> tuple[str, float, str] | None:
    """Name, time (seconds since the epoch) and kind of a copy of a ledger or of its record; None for any other key."""
    match = _COPY.fullmatch(key)
    if match is None:
        return None
    try:
        time = datetime.strptime(match["time"], _COPY_TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return match["name"], time.timestamp(), match["kind"]


def sheet_key(series: str, day: str) -> str:
    """Of the contact sheet of a series and a day."""
    return f"{SHEETS}{_checked(_NAME, 'series', series)}/{_checked(_NAME, 'day', day)}.webp"


def picture_key(text: str) -> str | None:
    """The text itself if it is the key of a poster, a strip or a contact sheet; None for every other object's."""
    return text if _PICTURE.fullmatch(text) else None


def quarantined(key: str) -> str:
    """Key of a take's object after a failed check, from the key that it would have had."""
    return QUARANTINE + key.removeprefix(VIDEOS)


def current_key(clip: str) -> str:
    """Of the object that shows which attempt is current."""
    return f"{clip_prefix(clip)}{_CURRENT}.json"


def ledger_key() -> str:
    """Of the mark of the ledger that owns the bucket."""
    return "ledger.json"


def clip_prefix(clip: str) -> str:
    """Prefix of every key of a clip's takes."""
    return f"{VIDEOS}{_checked(_CLIP, 'clip', clip)}/"


def manifest_of(key: str) -> tuple[str, str] | None:
    """Clip and attempt of a manifest's key, None for any other key. The rebuild reads lists of the bucket with it."""
    match = _MANIFEST.fullmatch(key)
    if match is None or match["attempt"] == _CURRENT:
        return None
    return match["clip"], match["attempt"]


def _take(clip: str, attempt: str) -> str:
    if attempt == _CURRENT:
        raise ValueError("an attempt cannot be called 'current': that key shows which one is")
    return f"{clip_prefix(clip)}{_checked(_NAME, 'attempt', attempt)}"


def _checked(pattern: re.Pattern[str], name: str, text: str) -> str:
    # a provider's id with / or .. in it must never become part of a key
    if not pattern.fullmatch(text):
        raise ValueError(f"{text!r} cannot be the {name} of a key; allowed is {pattern.pattern}")
    return text
