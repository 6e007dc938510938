"""The strict YAML reader: what it refuses, and where, and the meaning of plain words."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.declared.document import MAX_BYTES, parse_document, read_document
from resources.declared.problems import Problem, ProblemsError, nearest, show

FILE = Path("a.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9:16", "9:16"),
        ("16:9", "16:9"),
        ("720*1280", "720*1280"),
        ("on", "on"),
        ("no", "no"),
        ("Norway: NO", {"Norway": "NO"}),
        ("2026-11-20", "2026-11-20"),
        ("007", "007"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        (".inf", ".inf"),
        ("true", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("-4", -4),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ('"4"', "4"),
        ("'true'", "true"),
        ("4: x", {"4": "x"}),
        ("on: x", {"on": "x"}),
    ],
)
def test_plain_words_mean_what_people_expect(text, value):
    read = parse_document(text, FILE).value
    assert read == value
    assert isinstance(read, type(value))
    assert isinstance(read, bool) is isinstance(value, bool)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: &x 1\nb: *x", 1, "an anchor (&) is not allowed"),
        ("a: 1\nb: *x", 2, "an alias (*) is not allowed"),
        ("a: !!python/object/apply:os.system [ls]", 1, "a tag (!) is not allowed"),
        ("a: ! x", 1, "a tag (!) is not allowed"),
        ("a:\n  b: 1\n  c: 2\n  b: 3", 4, "a.b: is written twice, first in line 2"),
        ("? [a]\n: b", 1, "a key must be plain text"),
        ("a: 1\n---\nb: 2", 2, "a second document"),
        ("a: [" * 3 + "[" * 20, 1, "nested deeper than 12 levels"),
        ('a: "\\0"', 1, "control character"),
        ('a: "\\u009b"', 1, "control character"),
        ("a: 1\nb: 99999999999999999999", 2, "too large a number"),
        ("a: 1e999", 1, "too large a number"),
        ("a: 1\nb: [", 2, "a [ or { is not closed"),
        ("a: b: c", 1, "a text contains a colon and a space"),
        ("a: b\n c: d", 2, "it begins with more spaces than the line above"),
        ("\ta: 1", 1, "a tab is not allowed"),
    ],
)
def test_forbidden_yaml_is_refused_with_its_line(text, line, says):
    with pytest.raises(ProblemsError) as refused:
        parse_document(text, FILE)
    (problem,) = refused.value.problems
    assert problem.line == line
    assert says in str(problem)


def test_a_lone_surrogate_is_refused():
    with pytest.raises(ProblemsError):
        parse_document('a: "\\ud800"', FILE)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    file = tmp_path / "big.yaml"
    file.write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(ProblemsError, match="larger than 256 KB"):
        read_document(file)


def test_a_file_that_is_not_text_names_the_line(tmp_path):
    file = tmp_path / "latin.yaml"
    file.write_bytes("a: 1\nb: caf\xe9\n".encode("latin-1"))
    with pytest.raises(ProblemsError, match=r"latin\.yaml:2: 'b: café' is not in UTF-8"):
        read_document(file)


def test_a_missing_file_is_a_problem_and_no_traceback(tmp_path):
    with pytest.raises(ProblemsError, match="cannot be read: No such file"):
        read_document(tmp_path / "no.yaml")


def test_a_folder_in_place_of_a_file_is_a_problem(tmp_path):
    with pytest.raises(ProblemsError, match="cannot be read: it is a folder, and a file is expected here"):
        read_document(tmp_path)


def test_a_byte_order_mark_does_no_harm(tmp_path):
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_document(file).value == {"a": 1}


MESS = st.text(alphabet="-:[]{}|>&*!%@`'\"#, \n\tab01?", max_size=300)


@given(st.one_of(st.text(max_size=200), MESS))
def test_any_text_is_a_document_or_a_problem(text):
    problems: tuple[Problem, ...] = ()
    try:
        document = parse_document(text, FILE)
    except ProblemsError as error:
        problems = error.problems
    else:
        assert all(1 <= line <= text.count("\n") + text.count("\r") + 2 for line in document.lines.values())
    assert all(problem.line is None or problem.line >= 1 for problem in problems)


def test_a_problem_reads_as_one_sentence(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    problem = Problem("parameters.size", found="'720x1280'", allowed="'720*1280', '1280*720'")
    placed = problem.hinted("720x1280", ["720*1280", "1280*720"]).at(tmp_path / "data/series/city.yaml", 12)
    assert str(placed) == (
        "data/series/city.yaml:12: parameters.size: found '720x1280', allowed: '720*1280', '1280*720'"
        " - did you mean '720*1280'?"
    )


def test_a_long_value_is_cut_before_it_is_compared_or_shown():
    text = "x" * 200_000
    assert nearest(text, ["size"]) == ""
    assert len(show(text)) < 100
