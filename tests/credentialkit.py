"""Files with content credentials as a provider signs them, and an independent reader of them."""

import json
from pathlib import Path
from typing import Any

import c2pa

from resources.export.signing_identity import read_identity
from tests.certificates import Certificate, signer

CREATED_BY_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def sign_as_provider(path: Path, folder: Path, organization: str = "Provider Inc") -> Path:
    """Write a copy of a file with its maker's manifest."""
    certificate = signer(folder, organization=organization)
    made = path.with_name(f"{path.stem}-by-provider.mp4")
    action = {"action": "c2pa.created", "digitalSourceType": CREATED_BY_MODEL}
    manifest = {
        "claim_generator_info": [{"name": "Provider"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
    }
    identity = read_identity(certificate.file, certificate.key)
    made_by = c2pa.Signer.from_callback(identity.sign, c2pa.C2paSigningAlg.ES256, identity.certificates)
    with path.open("rb") as file, made.open("w+b") as copy, c2pa.Builder(manifest) as builder:
        builder.sign(made_by, "video/mp4", file, copy)
    return made


def flip_last_byte_of_picture(path: Path) -> Path:
    """A copy with one changed byte in its data."""
    data = bytearray(path.read_bytes())
    data[data.rindex(b"mdat") + 200] ^= 1
    changed = path.with_name(f"{path.stem}-changed.mp4")
    changed.write_bytes(data)
    return changed


def read_with_c2pa(path: Path) -> dict[str, Any]:
    """What c2pa's own reader reports about a file."""
    with path.open("rb") as file, c2pa.Reader("video/mp4", file) as reader:
        found: dict[str, Any] = json.loads(reader.json())
        return found


__all__ = ["Certificate", "flip_last_byte_of_picture", "read_with_c2pa", "sign_as_provider", "signer"]
