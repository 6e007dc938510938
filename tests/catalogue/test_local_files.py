"""Local files in a series: only from the data folder, only of their real type, identified by their content."""

import hashlib
import os
from pathlib import Path

import pytest
from examples import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import jpeg, mp4, png, put, webp

from resources.catalogue import Catalogue, DataFolder
from resources.catalogue.file_types import sniff
from resources.catalogue.files import MAX_BYTES, MAX_INLINE_BYTES
from resources.declared.problems import ProblemsError
from resources.file_references import FileReference
from resources.orders import fingerprint

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
I2V, CHARACTERS = "openai/sora-2/image-to-video", "openai/sora-2/characters"


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    (tmp_path / ".env").write_text("SECRET=hunter2")
    put(tmp_path, "outside.png", png(8, 8))
    put(tmp_path / "data", "images/hill.png", png(1280, 720))
    return DataFolder(tmp_path / "data")


def refusal(folder: DataFolder, text: str, media: str = "image") -> str:
    with pytest.raises(ProblemsError) as refused:
        folder.find(text, media=media)
    return str(refused.value)


def test_a_file_of_the_data_folder_is_identified_by_its_content(folder):
    found = folder.find("images/hill.png", media="image")
    assert found.reference == FileReference("images/hill.png", hashlib.sha256(png(1280, 720)).hexdigest())
    assert (found.is_a.content_type, found.is_a.width, found.is_a.height) == ("image/png", 1280, 720)
    assert folder.read(found.reference) == (found, png(1280, 720))
    assert folder.find("images/../images/./hill.png", media="image") == found
    assert "hill" not in found.upload_name
    assert found.upload_name.endswith(".png")


@pytest.mark.parametrize(
    "text",
    ["../../.env", "../.env", "../outside.png", "images/../../outside.png", "images/../../nothing-there.png"],
)
def test_no_path_leads_out_of_the_data_folder_or_reveals_anything_outside(folder, text):
    assert "leads out of the data folder" in refusal(folder, text)


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        "~/.ssh/id_rsa",
        "file:images/hill.png",
        "C:/a.png",
        "",
        ".",
        "images",
        "a\x00b",
        "x" * 400,
    ],
)
def test_an_invalid_path_is_refused(folder, text):
    assert refusal(folder, text)


def test_links_are_resolved(folder):
    inside = folder.root / "images"
    (inside / "fine.png").symlink_to("hill.png")
    (inside / "env.png").symlink_to(folder.root.parent / ".env")
    (inside / "out").symlink_to(folder.root.parent)
    (inside / "loop.png").symlink_to("loop.png")
    assert folder.find("images/fine.png", media="image").reference.path == "images/hill.png"
    for text in ("images/env.png", "images/out/outside.png"):
        assert "leads out of the data folder" in refusal(folder, text)
    assert "no such file" in refusal(folder, "images/loop.png")


def test_a_path_that_is_no_plain_file_is_refused_without_waiting(folder):
    os.mkfifo(folder.root / "pipe.png")
    assert "not a plain file" in refusal(folder, "pipe.png")
    put(folder.root, ".hidden.png", png(8, 8))
    assert "hidden" in refusal(folder, ".hidden.png")
    put(folder.root, "empty.png", b"")
    assert "is empty" in refusal(folder, "empty.png")


@pytest.mark.parametrize(
    "data",
    [
        b"SECRET=hunter2",
        b"<svg/>",
        b"GIF89a" + bytes(20),
        b"\x89PNG\r\n\x1a\nSECRET=hunter2 and more, much more",
    ],
)
def test_a_file_must_have_the_type_of_its_name(folder, data):
    put(folder.root, "fake.png", data)
    assert "has another type than its name says" in refusal(folder, "fake.png")


def test_a_film_is_no_image_and_an_image_no_film(folder):
    put(folder.root, "joe.mp4", mp4(seconds=1))
    assert "an MP4 or MOV video" in refusal(folder, "joe.mp4")
    assert "allowed: an MP4 or MOV video" in refusal(folder, "images/hill.png", media="video")


def test_a_file_that_is_too_large_is_refused_without_reading_it(folder):
    path = put(folder.root, "large.png", png(8, 8))
    os.truncate(path, MAX_BYTES["image"] + 1)
    assert "at most 20 MB" in refusal(folder, "large.png")
    os.truncate(path, 10**12)
    assert "at most 100 MB" in refusal(folder, "large.png")


def test_a_file_that_changed_since_its_rendering_is_not_read(folder):
    reference = folder.find("images/hill.png", media="image").reference
    put(folder.root, "images/hill.png", png(1280, 720, shade=91))
    with pytest.raises(ProblemsError, match="has changed since its prompt was rendered"):
        folder.read(reference)
    assert folder.find("images/hill.png", media="image").reference.sha256 != reference.sha256


@pytest.mark.parametrize(("make", "kind"), [(png, "png"), (jpeg, "jpeg"), (webp, "webp")])
@pytest.mark.parametrize("size", [(64, 48), (720, 1280), (1792, 1024)])
def test_images_are_measured_without_decoding_them(make, kind, size):
    found = sniff(make(*size))
    assert found is not None
    assert (found.content_type, found.width, found.height) == (f"image/{kind}", *size)


def test_a_picture_with_a_rotation_is_measured_as_it_is_shown():
    exif = b"Exif\0\0" + b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0\0\0\0"
    plain = jpeg(64, 48)
    turned = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + plain[2:]
    found = sniff(turned)
    assert found is not None
    assert (found.width, found.height) == (48, 64)


@given(st.binary(max_size=200))
@example(b"\xff\xd8\xff\xe0\x00\x00")
@example(b"\xff\xd8\xff" + b"\xff" * 100)
@example(b"RIFF\0\0\0\0WEBPVP8L" + bytes(14))
def test_no_bytes_raise_an_unforeseen_error_in_the_type_detection(data):
    for head in (data, png(8, 8)[:20] + data, jpeg(16, 16)[:30] + data, b"RIFF\0\0\0\0WEBP" + data):
        found = sniff(head)
        assert found is None or found.media in {"image", "video", "audio"}


@settings(max_examples=examples(200))
@given(
    text=st.one_of(
        st.text(max_size=60),
        st.lists(
            st.sampled_from(["..", ".", "images", "hill.png", ".env", "outside.png", "~", ""]), max_size=6
        ).map("/".join),
    )
)
def test_every_path_is_inside_the_data_folder_or_refused(folder, text):
    try:
        path, said = folder.find(text, media="image").reference.path, ""
    except ProblemsError as error:
        path, said = "images/hill.png", str(error)
    assert (folder.root / path).resolve().is_relative_to(folder.root.resolve())
    assert "hunter2" not in said


def test_a_request_names_the_file_and_its_fingerprint_only_its_content(folder):
    endpoint = CATALOGUE.get(I2V)
    one = endpoint.resolve("x", {"image": "images/hill.png"}, files=folder)
    put(folder.root, "stills/copy.png", png(1280, 720))
    other = endpoint.resolve("x", {"image": "stills/copy.png"}, files=folder)
    put(folder.root, "stills/copy.png", png(1280, 720, shade=1))
    changed = endpoint.resolve("x", {"image": "stills/copy.png"}, files=folder)
    reference = FileReference.parse(one["image"])
    assert reference is not None
    assert reference.path == "images/hill.png"
    prints = [fingerprint("wavespeed", I2V, body) for body in (one, other, changed)]
    assert prints[0] == prints[1] != prints[2]


def test_a_series_cannot_write_a_reference_itself(folder):
    forged = f"file:../../.env#sha256={'0' * 64}"
    for page, parameters in (
        (I2V, {"image": forged}),
        (CHARACTERS, {"video": "https://x/a.mp4", "name": forged}),
    ):
        with pytest.raises(ProblemsError):
            CATALOGUE.get(page).resolve("x", parameters, files=folder)
    with pytest.raises(ProblemsError, match="looks like dailies' own name"):
        CATALOGUE.get(I2V).resolve(forged, {"image": "images/hill.png"}, files=folder)


def test_without_a_data_folder_no_file_may_be_named():
    with pytest.raises(ProblemsError, match="local files cannot be used here"):
        CATALOGUE.get(I2V).resolve("x", {"image": "images/hill.png"})


def test_a_picture_must_have_the_frames_size_if_the_page_says_so(folder):
    endpoint = CATALOGUE.get("openai/sora-2-pro-i2v")
    given = {"image": "images/hill.png", "resolution": "720p"}
    assert endpoint.resolve("x", given, files=folder)["image_url"].startswith("file:images/hill.png#")
    with pytest.raises(ProblemsError) as refused:
        endpoint.resolve("x", {**given, "resolution": "1080p"}, files=folder)
    (problem,) = refused.value.problems
    assert problem.field == "parameters.image"
    assert "of 1280x720 pixels, allowed: exactly 1792x1024 pixels" in str(problem)


def test_the_error_for_a_provider_without_uploads_says_so(folder):
    with pytest.raises(
        ProblemsError, match="takes no files for this parameter; publish the file and give its address"
    ):
        CATALOGUE.get("bytedance/seedance-2-0").resolve("x", {"image": "images/hill.png"}, files=folder)
    path = put(folder.root, "large.png", png(1280, 720))
    os.truncate(path, MAX_INLINE_BYTES + 1)
    with pytest.raises(ProblemsError, match="at most 8 MB, because it is sent inside the request"):
        CATALOGUE.get("openai/sora-2-i2v").resolve("x", {"image": "large.png"}, files=folder)


@pytest.mark.parametrize(("seconds", "fits"), [(1.0, False), (2.0, True), (4.0, True), (6.0, False)])
def test_a_character_needs_two_to_four_seconds_of_film(folder, seconds, fits):
    put(folder.root, "characters/joe.mp4", mp4(seconds=seconds))
    given = {"video": "characters/joe.mp4", "name": "Joe"}
    if fits:
        assert CATALOGUE.get(CHARACTERS).resolve("", given, files=folder)["name"] == "Joe"
        return
    with pytest.raises(ProblemsError, match="of 2 to 4 seconds"):
        CATALOGUE.get(CHARACTERS).resolve("", given, files=folder)


def test_files_and_addresses_may_be_mixed_in_a_list(folder):
    endpoint = CATALOGUE.get("bytedance/seedance-2.0/text-to-video")
    images = ["images/hill.png", "https://example.com/b.png"]
    body = endpoint.resolve("x", {"reference_images": images}, files=folder)
    assert [bool(FileReference.parse(item)) for item in body["reference_images"]] == [True, False]
    assert [r.path for r in FileReference.of(body)] == ["images/hill.png"]
