"""Errors of a file that is not YAML: the line, and how to correct it."""

from pathlib import Path

import pytest

from resources.declared.document import parse_document, read_text
from resources.declared.problems import ProblemsError

MISTAKES = {
    "name: bay\nschedule:\n\tcron: 0 6 * * *\n": (3, "a tab", "spaces"),
    "clips:\n  - name: east\n\tvariables: {a: b}\n": (3, "a tab", "spaces"),
    "prompt: A ferry: at dawn\n": (1, "colon", "quotes"),
    "prompt: {{ place }} at dawn\n": (1, "{{", "quotes"),
    "variables:\n  a: {{ b }}\n": (2, "{{", "quotes"),
    "clips: [{name: east, variables: {a: The {{ b }}}}]\n": (1, "{{", "quotes"),
    "prompt: %calm sea\n": (1, "begin with %", "quotes"),
    "prompt: *calm* sea\n": (1, "begin with *", "quotes"),
    "schedule:\n  cron: */5 * * * *\n": (2, "begin with *", "quotes"),
    "prompt: &calm sea\n": (1, "(&)", "quotes"),
    "prompt: !calm sea\n": (1, "(!)", "quotes"),
    "prompt: @calm sea\n": (1, "begin with @", "quotes"),
    'a: b\nprompt: "A ferry\nclips: []\n': (2, "quote", "never closed"),
    "prompt: 'It's calm'\n": (1, "closing quote", "twice"),
    'prompt: "A ferry" at dawn\n': (1, "closing quote", "whole text"),
    'prompt: "a \\qay"\n': (1, "backslash", "single quotes"),
    "clips:\n  - name: east\n   variables: {a: b}\n": (3, "indentation"),
    "name:bay\nendpoint: x\n": (1, "a space is missing after the colon"),
    "a: b\nclips: [{name: east}, {name: west}\nb: c\n": (2, "[ is not closed"),
    "a: b\nc: {name: east\nb: c\n": (2, "{ is not closed"),
    "clips: - name: east\n": (1, "a list (-)"),
    "prompt: |\nDawn\nc: d\n": (2, "without a colon"),
    "prompt: | Dawn\n": (1, "next line"),
    "prompt: ? Dawn\n": (1, "begin with ?", "quotes"),
    "schedule: {cron: @daily, timezone: Europe/Oslo}\n": (1, "five fields"),
    "parameters: {resolution: 720p, aspect_ratio: 16: 9}\n": (1, "leave out the space"),
    "prompt: Pier #1 at dawn\n": (1, "'#1 at dawn'", "quotes"),
    "clips:\n  - name: east\n\u00a0\u00a0\u00a0\u00a0prompt: Dawn\n": (3, "U+00A0"),
    "a: b\nprompt\nc: d\n": (2, "without a colon"),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_the_error_of_a_file_that_is_not_yaml_names_the_line_and_the_correction(text: str) -> None:
    line, *words = MISTAKES[text]
    with pytest.raises(ProblemsError) as refused:
        parse_document(text, Path("bay.yaml"))
    said = str(refused.value)
    assert said.startswith(f"bay.yaml:{line}: ")
    assert all(str(word) in said for word in words), said
    for jargon in ("token", "mapping values", "indicator", "stream"):
        assert jargon not in said


@pytest.mark.parametrize(
    "text",
    [
        "prompt: Pier  # the first\n",
        "prompt: 'Pier #1'\n",
        "endpoint: model #fast\n",
        "prompt: Pier#1\n",
        "variables:\n  boats: 5 #five\n",
        "dates:\n  from: 2026-11-20 #the first day\n",
    ],
)
def test_a_valid_comment_stays_a_comment(text: str) -> None:
    assert parse_document(text, Path("bay.yaml")).value


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"name: bay\nprompt: B\xe4y\n", "bay.yaml:2: 'prompt: Bäy' is not in UTF-8; save the file as UTF-8"),
        ("name: bay\n".encode("utf-16"), "bay.yaml:1: is text in UTF-16; save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00", "bay.yaml:1: is not text"),
        (b"name: b\x00y\n", "bay.yaml:1: is not text"),
    ],
)
def test_the_error_of_a_file_in_another_encoding_names_the_line_and_the_correction(
    tmp_path: Path, data: bytes, says: str
) -> None:
    (tmp_path / "bay.yaml").write_bytes(data)
    with pytest.raises(ProblemsError) as refused:
        read_text(tmp_path / "bay.yaml")
    assert says in str(refused.value)
