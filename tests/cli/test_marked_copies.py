"""`dailies fetch --sign`, `--mark` and `dailies disclosure`: copies declare their origin, and the provider's bytes stay."""

import csv
import hashlib
import io
import json
import logging
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import av
import pytest
from credentialkit import CREATED_BY_MODEL, flip_last_byte_of_picture, read_with_c2pa, sign_as_provider
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from deliverykit import Depot
from hostile import File
from makers import make_mp4
from typer.testing import CliRunner, Result

from pipelines.cli.app import app
from pipelines.events import _video_metadata
from resources.checks import Checks
from resources.errors import ConfigurationError
from resources.export.signing_identity import read_identity
from resources.gallery.cards import facts_in_words
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.ledger.takes import takes_of
from resources.room.documents import _take
from tests.certificates import Certificate, signer

pytestmark = pytest.mark.slow

STEM = "bay/undated/bay-dawn-take1"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def a_take(depot: Depot, clip: str, data: bytes | None = None, **changes: Any) -> Attempt:
    if data is not None:
        depot.server.files["/clip.mp4"] = File(data=data)
    (made,) = depot.deliver(depot.finished(clip, series="bay", **changes))
    return made


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listed(folder: Path) -> dict[str, str]:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def xmp_of(path: Path) -> dict[str, str]:
    """IPTC's terms in the XMP, as FFmpeg reads it."""
    with av.open(str(path), options={"export_xmp": "1"}) as container:
        packet = container.metadata["xmp"]
    found = ET.fromstring(packet.strip("\ufeff"))
    return {element.tag.rpartition("}")[2]: element.text or "" for element in found.iter() if element.text}


def words_of(certificate: Certificate) -> list[str]:
    return ["--sign", "--certificate", str(certificate.file), "--key", str(certificate.key)]


@pytest.fixture
def mine(tmp_path: Path) -> Certificate:
    return signer(tmp_path)


def test_a_signed_copy_declares_its_origin_and_the_clip_stays(
    depot: Depot, tmp_path: Path, mine: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    take, to = a_take(depot, "bay-dawn"), tmp_path / "out"
    ran = run("fetch", "bay", "--to", str(to), *words_of(mine), "--json")
    assert ran.exit_code == 0, ran.output
    original, copy = to / f"{STEM}.mp4", to / f"{STEM}-signed.mp4"
    assert sha256(original) == depot.manifest(take).object.sha256
    (told,) = json.loads(ran.stdout)["copies"]
    assert (told["file"], told["original"]) == (f"{STEM}-signed.mp4", f"{STEM}.mp4")
    assert (told["sha256"], told["original_sha256"]) == (sha256(copy), sha256(original))
    assert listed(to)[told["file"]] == sha256(copy)
    assert listed(to)[told["original"]] == sha256(original)
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=to, check=True, capture_output=True)

    found = read_with_c2pa(copy)
    assert found["validation_state"] == "Valid"
    active = found["manifests"][found["active_manifest"]]
    assert active["signature_info"]["issuer"] == "Bay Films"
    (ingredient,) = active["ingredients"]
    assert (ingredient["title"], ingredient["relationship"]) == ("bay-dawn-take1.mp4", "parentOf")
    assert sha256(original) in ingredient["description"]
    (opened,) = next(one for one in active["assertions"] if one["label"] == "c2pa.actions.v2")["data"][
        "actions"
    ]
    assert (opened["action"], opened["digitalSourceType"]) == ("c2pa.opened", CREATED_BY_MODEL)
    assert xmp_of(copy) == {
        "DigitalSourceType": CREATED_BY_MODEL,
        "AISystemUsed": depot.manifest(take).disclosure.ai_system_used,
    }
    assert depot.manifest(take).prompt not in copy.read_bytes().decode("latin-1"), (
        "a copy must not contain its prompt"
    )

    before = copy.read_bytes()
    assert run("fetch", "bay", "--to", str(to), *words_of(mine)).exit_code == 0
    assert copy.read_bytes() == before, "an existing copy is not signed again"
    copy.write_bytes(before + b"?")
    again = run("fetch", "bay", "--to", str(to), *words_of(mine))
    assert again.exit_code == 1
    assert "not overwritten" in again.stderr
    secret = mine.key.read_text().splitlines()[1]
    for said in (ran.output, again.output, caplog.text):
        assert secret not in said
        assert str(mine.key) not in said


def test_a_clip_that_its_provider_signed_keeps_its_credentials_in_the_copy(
    depot: Depot, tmp_path: Path, mine: Certificate
) -> None:
    signed = sign_as_provider(make_mp4(tmp_path / "c.mp4"), tmp_path)
    take, to = a_take(depot, "bay-dawn", signed.read_bytes()), tmp_path / "out"
    manifest = depot.manifest(take)
    assert {check.name: check.outcome for check in manifest.checks}["credentials"] == "passed"
    assert manifest.disclosure.credentials is not None
    assert (manifest.disclosure.credentials.state, manifest.disclosure.credentials.signed_by) == (
        "valid",
        "Provider Inc",
    )
    assert run("fetch", "bay", "--to", str(to), *words_of(mine)).exit_code == 0
    original, copy = to / f"{STEM}.mp4", to / f"{STEM}-signed.mp4"
    assert original.read_bytes() == signed.read_bytes()
    theirs, found = read_with_c2pa(signed), read_with_c2pa(copy)
    assert found["validation_state"] == "Valid"
    assert found["active_manifest"] != theirs["active_manifest"]
    label = theirs["active_manifest"]
    assert found["manifests"][label]["signature_info"] == theirs["manifests"][label]["signature_info"]
    codes = json.dumps(found["validation_results"]["ingredientDeltas"])
    assert "ingredient.manifest.validated" in codes
    with av.open(str(copy), options={"export_xmp": "1"}) as container:
        assert "xmp" not in container.metadata

    marked = run("fetch", "bay", "--to", str(tmp_path / "marked"), "--mark")
    assert marked.exit_code == 0
    assert "carries content credentials, so it was left unchanged" in marked.stderr
    assert not list((tmp_path / "marked").rglob("*-marked.mp4"))


def test_a_mark_needs_no_certificate(depot: Depot, tmp_path: Path) -> None:
    a_take(depot, "bay-dawn")
    to = tmp_path / "out"
    ran = run("fetch", "bay", "--to", str(to), "--mark")
    assert ran.exit_code == 0, ran.output
    assert "1 marked copy" in ran.stdout
    copy = to / f"{STEM}-marked.mp4"
    assert xmp_of(copy)["DigitalSourceType"] == CREATED_BY_MODEL
    assert copy.read_bytes().startswith((to / f"{STEM}.mp4").read_bytes())
    assert listed(to)[f"{STEM}-marked.mp4"] == sha256(copy)
    assert run("inspect", str(copy)).exit_code in {0, 1}
    assert not list(to.glob(".arriving/*"))


def test_invalid_credentials_are_a_warning_and_are_not_signed(
    depot: Depot, tmp_path: Path, mine: Certificate
) -> None:
    changed = flip_last_byte_of_picture(sign_as_provider(make_mp4(tmp_path / "c.mp4"), tmp_path)).read_bytes()
    take, to = a_take(depot, "bay-dawn", changed), tmp_path / "out"
    assert take.state is AttemptState.DELIVERED
    assert take.delivery is not None
    assert take.delivery["checks"]["credentials"] == "warned"
    assert "content credentials are invalid: assertion.bmffHash.mismatch" in "; ".join(
        take.delivery["warnings"]
    )
    ran = run("fetch", "bay", "--to", str(to), *words_of(mine))
    assert ran.exit_code == 1
    assert "no copy vouches for it" in ran.stderr
    assert (to / f"{STEM}.mp4").read_bytes() == changed
    assert not list(to.rglob("*-signed.mp4"))
    refused = a_take(depot, "bay-noon", changed, checks=Checks(credentials="fail"))
    assert refused.state is AttemptState.QUARANTINED


def test_disclosure_lists_the_credentials_of_each_select(depot: Depot, tmp_path: Path) -> None:
    plain = make_mp4(tmp_path / "c.mp4")
    signed = sign_as_provider(plain, tmp_path, organization="=cmd|' /C calc'!A0")
    a_take(depot, "bay-dawn", signed.read_bytes())
    a_take(depot, "bay-noon", plain.read_bytes())
    a_take(depot, "bay-dusk", flip_last_byte_of_picture(signed).read_bytes())
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["disclosure", "bay"])
    assert shown.exit_code == 0, shown.output
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "valid" in lines["bay-dawn"]
    assert "absent" in lines["bay-noon"]
    assert "invalid" in lines["bay-dusk"]
    told = {one["clip"]: one for one in json.loads(run("disclosure", "bay", "--json").stdout)}
    assert told["bay-dawn"]["stated_source_types"] == [CREATED_BY_MODEL]
    assert told["bay-dusk"]["problems"] == ["assertion.bmffHash.mismatch"]
    assert told["bay-noon"]["digital_source_type"] == CREATED_BY_MODEL
    assert told["bay-noon"]["credentials"] == "absent"
    rows = {one["clip"]: one for one in csv.DictReader(io.StringIO(run("disclosure", "--csv", "-").stdout))}
    assert rows["bay-dawn"]["signed_by"].startswith("'="), "the cell is no formula"
    assert rows["bay-dusk"]["problems"] == "assertion.bmffHash.mismatch"
    (dawn,) = takes_of(depot.ledger, ["bay-dawn"])["bay-dawn"].takes
    delivery = dawn.attempt.delivery or {}
    assert _take(dawn, None)["facts"].endswith("content credentials valid")
    assert facts_in_words(delivery).endswith("content credentials valid")
    metadata = _video_metadata(dawn.attempt, delivery)
    assert metadata["content_credentials"].startswith("valid, signed by =cmd")
    checks = json.loads(run("takes", "bay-dusk", "--json").stdout)["takes"][0]["checks"]
    assert checks["credentials"] == "warned"


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="es384"),
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="ed25519"),
        pytest.param(rsa.generate_private_key(public_exponent=65537, key_size=2048), id="ps256"),
    ],
)
def test_every_kind_of_key_signs(depot: Depot, tmp_path: Path, key: Any) -> None:
    a_take(depot, "bay-dawn")
    to = tmp_path / "out"
    ran = run("fetch", "bay", "--to", str(to), *words_of(signer(tmp_path, key)))
    assert ran.exit_code == 0, ran.output
    assert read_with_c2pa(to / f"{STEM}-signed.mp4")["validation_state"] == "Valid"


def test_a_wrong_certificate_or_key_is_named_and_not_shown(tmp_path: Path, mine: Certificate) -> None:
    other = signer(tmp_path)
    encrypted, damaged = tmp_path / "encrypted.pem", tmp_path / "damaged.pem"
    private = serialization.load_pem_private_key(mine.key.read_bytes(), None)
    encrypted.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    damaged.write_text("canary")
    for certificate, key, says in (
        (None, mine.key, "--sign needs the certificate"),
        (mine.file, None, "--sign needs the private key"),
        (mine.file, other.key, "is not that of the certificate"),
        (mine.file, encrypted, "is encrypted"),
        (mine.file, damaged, "is not a private key"),
        (damaged, mine.key, "is not a file of certificates"),
        (tmp_path / "gone.pem", mine.key, "cannot read the certificate"),
    ):
        with pytest.raises(ConfigurationError, match=says) as refused:
            read_identity(certificate, key)
        assert "canary" not in str(refused.value)
    assert "PRIVATE" not in repr(read_identity(mine.file, mine.key))


def test_a_certificate_that_is_not_for_content_credentials_is_refused(depot: Depot, tmp_path: Path) -> None:
    from tests.certificates import self_signed

    a_take(depot, "bay-dawn")
    ran = run("fetch", "bay", "--to", str(tmp_path / "out"), *words_of(self_signed(tmp_path, "127.0.0.1")))
    assert ran.exit_code == 1
    assert "cannot be signed" in ran.stderr
    assert not list((tmp_path / "out").rglob("*-signed.mp4"))
