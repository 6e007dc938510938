"""Copies of fetched takes that are marked as AI-generated: XMP with IPTC's terms, and content credentials signed by the user.

The fetched file stays byte for byte as its provider made it, with its credentials.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from resources.errors import DailiesError, UnavailableError
from resources.export.fetched_takes import FetchedTake
from resources.export.folder import ExportFolder
from resources.export.signing_identity import SigningIdentity
from resources.storage.manifest import Disclosure
from resources.video.credentials_verifier import CredentialsVerifier, ManifestOrder, MarkingError

IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
"""The namespace of IPTC's extension schema."""
_INGREDIENT = "clip"


@dataclass(frozen=True)
class MarkedCopy:
    """A copy of a take in the folder."""

    take: FetchedTake
    file: str
    """Relative to the folder."""
    sha256: str
    """Of the copy, in hex."""
    is_signed: bool
    note: str = ""
    """A sentence about a part that it lacks."""


@dataclass(frozen=True)
class UnmarkedTake:
    """A take of which no copy was made."""

    take: FetchedTake
    why: str
    was_wanted: bool
    """Whether its copy is missing; False for a file that needs none because its provider signed it."""


def xmp_packet(disclosure: Disclosure) -> str:
    """XMP that names the generative model which made the file. It does not contain the prompt."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{IPTC}">'
        f"<Iptc4xmpExt:DigitalSourceType>{escape(disclosure.digital_source_type)}</Iptc4xmpExt:DigitalSourceType>"
        f"<Iptc4xmpExt:AISystemUsed>{escape(disclosure.ai_system_used)}</Iptc4xmpExt:AISystemUsed>"
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    )


def mark_takes(
    folder: ExportFolder,
    arriving: Path,
    verifier: CredentialsVerifier,
    takes: Sequence[FetchedTake],
    identity: SigningIdentity | None,
) -> Iterator[MarkedCopy | UnmarkedTake]:
    """Make a copy of each take beside it. One that fails does not stop the others.

    Args:
        arriving: See `ExportFolder.arriving`.
        identity: Signs the copies; None writes XMP only.

    Raises:
        resources.errors.UnavailableError: The process that reads the files does not start.
        OSError: The folder cannot be written.
    """
    for take in takes:
        try:
            if (sha256 := folder.kept(_name(take, identity))) is not None:
                yield MarkedCopy(take, _name(take, identity), sha256, identity is not None)
            else:
                yield _mark(folder, arriving, verifier, take, identity)
        except UnavailableError:
            raise
        except DailiesError as error:
            yield UnmarkedTake(take, str(error), was_wanted=True)


def _name(take: FetchedTake, identity: SigningIdentity | None) -> str:
    return f"{take.file.removesuffix('.mp4')}-{'marked' if identity is None else 'signed'}.mp4"


def _mark(
    folder: ExportFolder,
    arriving: Path,
    verifier: CredentialsVerifier,
    take: FetchedTake,
    identity: SigningIdentity | None,
) -> MarkedCopy | UnmarkedTake:
    original = folder.place(take.file)
    carried = verifier.verify(original)
    if carried.state == "invalid":
        why = f"{take.file} carries invalid content credentials, so no copy vouches for it: {', '.join(carried.problems)}"
        return UnmarkedTake(take, why, was_wanted=True)
    attempt = take.take.attempt.id
    marked, signed, note = arriving / f"{attempt}-marked.mp4", arriving / f"{attempt}-signed.mp4", ""
    if carried.state == "valid":
        if identity is None:
            why = f"{take.file} carries content credentials, so it was left unchanged"
            return UnmarkedTake(take, why, was_wanted=False)
        marked = original
    else:
        try:
            verifier.mark(original, marked, xmp_packet(take.manifest.disclosure))
        except MarkingError as error:
            if identity is None:
                raise
            marked, note = original, f"its copy has no XMP: {error}"
    if identity is not None:
        verifier.sign(marked, signed, original, _order(take, identity))
        verified = verifier.verify(signed)
        if verified.state != "valid":
            raise MarkingError(f"the signed copy of {take.file} is {verified}")
    copy, name = marked if identity is None else signed, _name(take, identity)
    sha256 = _digest(copy)
    folder.keep(copy, name, sha256)
    if marked not in {original, copy}:
        marked.unlink()
    return MarkedCopy(take, name, sha256, identity is not None, note)


def _order(take: FetchedTake, identity: SigningIdentity) -> ManifestOrder:
    """The claim of the signed copy: it was made from this clip, which a generative model made."""
    disclosure, title = take.manifest.disclosure, take.file.rpartition("/")[2]
    opened: dict[str, Any] = {
        "action": "c2pa.opened",
        "digitalSourceType": disclosure.digital_source_type,
        "parameters": {"ingredientIds": [_INGREDIENT]},
    }
    described = {
        "@context": {"Iptc4xmpExt": IPTC},
        "Iptc4xmpExt:DigitalSourceType": disclosure.digital_source_type,
        "Iptc4xmpExt:AISystemUsed": disclosure.ai_system_used,
    }
    manifest = {
        "claim_generator_info": [{"name": "dailies", "version": importlib.metadata.version("dailies")}],
        "title": title,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [opened]}},
            {"label": "cawg.metadata", "data": described},
        ],
    }
    ingredient = {
        "title": title,
        "label": _INGREDIENT,
        "relationship": "parentOf",
        "description": f"as its provider delivered it, SHA-256 {take.manifest.object.sha256}",
    }
    return ManifestOrder(
        json.dumps(manifest), json.dumps(ingredient), identity.certificates, identity.algorithm, identity.sign
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
