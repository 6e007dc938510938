"""Content credentials: valid, invalid, absent; a file that crashes the verifier ends no delivery."""

from pathlib import Path

import pytest
from credentialkit import flip_last_byte_of_picture, sign_as_provider
from makers import make_mp4, with_c2pa

from resources.checks import Checks, Level
from resources.orders import ClipRequest, Expected
from resources.video import guarded_workers
from resources.video.confinement import LAYERS
from resources.video.credentials import ABSENT, ContentCredentials, stored_credentials, unverifiable
from resources.video.credentials_verifier import CredentialsVerifier, MarkingError
from resources.video.facts import Inspection
from resources.video.inspector import VideoInspector
from resources.video.judge import Check, judge

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_mp4(tmp_path_factory.mktemp("plain") / "plain.mp4", seconds=0.5)


@pytest.fixture(scope="module")
def signed(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sign_as_provider(plain, tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def inspected(signed: Path) -> Inspection:
    with VideoInspector() as inspector:
        return inspector.inspect(signed)


def test_credentials_are_valid_invalid_or_absent(plain: Path, signed: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer.mp4"
    longer.write_bytes(signed.read_bytes() + b"\0\0\0\x08free")
    with CredentialsVerifier() as verifier:
        assert verifier.verify(plain) == ABSENT
        found = verifier.verify(signed)
        assert (found.state, found.problems, found.signed_by, found.made_with) == (
            "valid",
            [],
            "Provider Inc",
            "Provider",
        )
        assert [uri.rpartition("/")[2] for uri in found.source_types] == ["trainedAlgorithmicMedia"]
        assert str(found) == "valid, signed by Provider Inc"
        assert verifier.verify(longer).state == "valid", "C2PA ignores free boxes"
        changed = verifier.verify(flip_last_byte_of_picture(signed))
        assert (changed.state, changed.problems) == ("invalid", ["assertion.bmffHash.mismatch"])
        empty = verifier.verify(with_c2pa(make_mp4(tmp_path / "c.mp4", seconds=0.3)))
        assert empty.state == "invalid"
        assert empty.problems[0].startswith("they cannot be read: ")
        nothing = tmp_path / "nothing.mp4"
        nothing.write_bytes(b"")
        assert verifier.verify(nothing).state == "invalid"


def test_the_verifier_is_confined_like_the_decoder(signed: Path) -> None:
    with CredentialsVerifier() as verifier, VideoInspector() as inspector:
        assert verifier.confinement() == inspector.confinement()
        assert set(verifier.confinement()) <= set(LAYERS)
        assert verifier.verify(signed).state == "valid"


def test_an_inspection_reads_the_credentials_and_starts_no_verifier_without_any(
    plain: Path, inspected: Inspection
) -> None:
    assert inspected.video.c2pa
    assert inspected.credentials is not None
    assert inspected.credentials.state == "valid"
    with VideoInspector() as inspector:
        assert inspector.inspect(plain).credentials == ABSENT
        assert inspector._verifier.pids == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("sys.stdin.readline(); os.abort()", "crash"),
        ("sys.stdin.readline(); print('{}')", "cannot be read"),
        ("sys.stdin.readline(); print(json.dumps({'credentials': {'state': 'trusted'}}))", "cannot be read"),
        (
            "sys.stdin.readline(); print(json.dumps({'credentials': {'state': 'valid', 'problems': ['x'] * 99}}))",
            "cannot be read",
        ),
    ],
)
def test_a_verifier_that_fails_makes_credentials_invalid_and_nothing_else(
    signed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, says: str
) -> None:
    package = tmp_path / "fake" / "resources" / "video"
    package.mkdir(parents=True)
    for folder in (package.parent, package):
        (folder / "__init__.py").write_text("")
    start = "print('{\"ready\": true}', flush=True)"
    (package / "credentials_worker.py").write_text(f"import json, os, sys\n{start}\n{body}\n")
    monkeypatch.setattr(guarded_workers, "_environment", lambda: {"PYTHONPATH": str(tmp_path / "fake")})
    with CredentialsVerifier() as verifier:
        found = verifier.verify(signed)
    assert found.state == "invalid"
    assert says in found.problems[0]


def test_texts_of_a_certificate_are_bounded_and_legible() -> None:
    kept = ContentCredentials(state="valid", signed_by="Bay\u202e" + "x" * 5000)
    assert kept.signed_by is not None
    assert "\u202e" not in kept.signed_by
    assert len(kept.signed_by) <= 200
    assert len(unverifiable("x" * 5000).problems[0]) <= 200


def _check(inspected: Inspection, credentials: ContentCredentials | None, level: Level) -> Check:
    request = ClipRequest(
        clip="a-clip",
        series="bay",
        provider="",
        endpoint="",
        body={},
        price_micros=None,
        expected=Expected(),
        checks=Checks(credentials=level),
    )
    given = Inspection(inspected.video, None, looked=inspected.looked, credentials=credentials)
    return next(check for check in judge(given, request) if check.name == "credentials")


@pytest.mark.parametrize(
    ("state", "level", "outcome"),
    [
        ("valid", "warn", "passed"),
        ("valid", "fail", "passed"),
        ("invalid", "off", "skipped"),
        ("invalid", "warn", "warned"),
        ("invalid", "fail", "failed"),
        ("absent", "fail", "skipped"),
        (None, "fail", "skipped"),
    ],
)
def test_the_check_warns_only_about_invalid_credentials(
    inspected: Inspection, state: str | None, level: Level, outcome: str
) -> None:
    found = (
        None if state is None else ContentCredentials.model_validate({"state": state, "problems": ["a.b"]})
    )
    check = _check(inspected, found, level)
    assert check.outcome == outcome
    assert ("a.b" in check.detail) == (outcome in {"warned", "failed"})
    assert Checks().credentials == "warn"


def test_takes_of_an_earlier_dailies_are_absent_or_not_verified() -> None:
    assert stored_credentials({"video": {"c2pa": False}}) == ABSENT
    assert stored_credentials({"video": {"c2pa": True}}) is None
    assert stored_credentials({}) is None
    assert stored_credentials({"credentials": {"state": "perfect"}}) is None


def test_a_file_with_credentials_or_xmp_is_not_marked(plain: Path, signed: Path, tmp_path: Path) -> None:
    marked = tmp_path / "marked.mp4"
    with CredentialsVerifier() as verifier:
        verifier.mark(plain, marked, "<x/>")
        assert marked.read_bytes().startswith(plain.read_bytes())
        with pytest.raises(MarkingError, match="XMP of its own"):
            verifier.mark(marked, tmp_path / "again.mp4", "<x/>")
        with pytest.raises(MarkingError, match="carries content credentials"):
            verifier.mark(signed, tmp_path / "broken.mp4", "<x/>")
        ragged = tmp_path / "ragged.mp4"
        ragged.write_bytes(plain.read_bytes() + b"\n")
        with pytest.raises(MarkingError, match="nothing can be added"):
            verifier.mark(ragged, tmp_path / "longer.mp4", "<x/>")
