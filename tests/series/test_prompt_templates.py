"""Prompt templates: what they can do, what they refuse, and that none can grow without bound or hang."""

import contextlib
import copy
import json
import pickle
import time
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.declared.document import parse_document
from resources.declared.problems import ProblemsError
from resources.plain import UNFIT
from resources.series.templates import MAX_PROMPT, MAX_TEMPLATE, PromptError, PromptTemplate

VARIABLES = {"mood": "calm", "city": "Oslo", "count": 3, "rain": True, "date": "2026-11-20", "nothing": ""}


def render(text: str, **variables: object) -> str:
    return PromptTemplate(text).render({**VARIABLES, **variables})


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("{{ city }} in a {{ mood }} light\n", "Oslo in a calm light"),
        ("{{ mood|capitalize }}, {{ city|upper }}", "Calm, OSLO"),
        ("{% if rain %}\nwet\n{% else %}\ndry\n{% endif %}\nstreet", "wet\nstreet"),
        ("{{ 'wet' if count > 2 and not nothing else 'dry' }}", "wet"),
        ("{% if city in ['Oslo', 'Bergen'] %}Norway{% endif %}", "Norway"),
        ("{{ city ~ ' ' ~ count }}", "Oslo 3"),
        ("{{ rain }}", "true"),
        ("{{ weather|default('sun') }}", "sun"),
        ("{% if weather is defined %}x{% endif %}y", "y"),
        ("{{ date|weekday }} in {{ date|month }}", "Friday in November"),
        ("{{ city|replace('s', 'ss') }}", "Osslo"),
        ("{# a note #}<b>&", "<b>&"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
    ],
)
def test_a_template_renders(template, prompt):
    assert render(template) == prompt


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{% for x in range(9) %}{% endfor %}", "`for` is not allowed"),
        ("{% set a = 'x' %}", "`assign` is not allowed"),
        ("{% macro m() %}{% endmacro %}", "`macro` is not allowed"),
        ("{% include 'x' %}", "`include` is not allowed"),
        ("{% extends '/etc/passwd' %}", "`extends` is not allowed"),
        ("{% import 'x' as y %}", "`import` is not allowed"),
        ("{% filter upper %}x{% endfilter %}", "`filterblock` is not allowed"),
        ("{{ 'a' * 999999999 }}", "arithmetic is not allowed"),
        ("{{ 9 ** 9 ** 9 }}", "arithmetic is not allowed"),
        ("{{ '%999999999d' % 1 }}", "arithmetic is not allowed"),
        ("{{ city.__class__ }}", "attributes and positions are not allowed"),
        ("{{ city['x'] }}", "attributes and positions are not allowed"),
        ("{{ city.upper() }}", "calls are not allowed"),
        ("{{ range(9) }}", "calls are not allowed"),
        ("{{ city|center(999999999) }}", "there is no filter 'center'; there are capitalize, default"),
        ("{{ city|attr('x') }}", "there is no filter 'attr'"),
        ("{% if count is divisibleby 0 %}{% endif %}", "there is no test 'divisibleby'"),
        ("{{ {'a': 1} }}", "`dict` is not allowed"),
        ("{{ city", "{{ or {% is not closed; write {{ name }}"),
        ("{{ city }", "{{ or {% is not closed; write {{ name }}"),
        ("{% if city %}a", "{% if ... %} is not closed; end it with {% endif %}"),
        ("{# a note", "{# is not closed; end it with #}"),
        ("{{ }}", "a variable is missing here"),
        ("{{ city mood }}", "mood follows a variable; {{ }} takes one"),
        ("{{ city | }}", "a filter's name is missing after |"),
        ("{% endif %}", "{% endif %} means nothing here; a prompt knows if, elif, else and endif"),
        ("{% if city %}{% else %}{% else %}{% endif %}", "{% else %} means nothing here"),
        ("{{ city! }}", "'!' means nothing between {{ and }}"),
        ("{% if %}", "a variable is missing here"),
        ("{{ " + "9" * 5000 + " }}", "is too complicated"),
        ("{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}", "is too complicated"),
        ("{{ " + "not " * 3000 + "city }}", "is too complicated"),
        ("{{ " + " ~ ".join(["city"] * 1500) + " }}", "is too complicated"),
        ("{% if city %}" * 90 + "{% endif %}" * 90, "is too complicated"),
        ("{{ '\\x1b[2J' }}", r"contains the control character '\x1b'"),
        ("{{ '\\ud800' }}", r"contains the control character '\ud800'"),
        ("{{ '\\ud83d' ~ '\\ude00' }}", r"contains the control character '\ud83d'"),
        ("{{ city|replace('s', '\\x00') }}", r"contains the control character '\x00'"),
        ("{{ city|default('\\x9b') }}", r"contains the control character '\x9b'"),
        (
            "{% if city == '\\N{RIGHT-TO-LEFT OVERRIDE}' %}x{% endif %}",
            r"contains the control character '\u202e'",
        ),
        ("{{ '\\uffff' }}", r"contains the control character '\uffff'"),
        ("x" * (MAX_TEMPLATE + 1), "is longer than 20000 characters"),
    ],
)
def test_forbidden_parts_of_a_template_are_refused_before_it_runs(template, says):
    with pytest.raises(PromptError) as refused:
        PromptTemplate(template)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ citty }}", "is not a variable here"),
        ("{{ city < count }}", "cannot be rendered"),
        ("{{ city|month }}", "need a date as YYYY-MM-DD"),
        ("{{ city|replace('', 'x') }}", "needs a text to replace"),
        ("{{ x|default('a') }}{{ x }}", "'x' is undefined"),
    ],
)
def test_a_failed_rendering_gives_its_reason(template, says):
    with pytest.raises(PromptError) as refused:
        render(template)
    assert says in str(refused.value)


def test_a_missing_variable_names_its_line():
    with pytest.raises(PromptError) as refused:
        render("a\nb\n{% if rain %}{{ subjcet }}{% endif %}")
    assert (refused.value.line, refused.value.missing) == (3, {"subjcet": 3})


def test_a_missing_variable_is_found_in_a_branch_that_is_not_taken():
    with pytest.raises(PromptError, match="is not a variable here"):
        render("x{% if not rain %}{{ subjcet }}{% endif %}")


def test_a_chain_of_replace_cannot_grow_without_end():
    chain = "|replace('a', 'aaaaaaaaaa')" * 12
    with pytest.raises(PromptError, match="a result of at most 20000 characters"):
        render("{{ big" + chain + " }}", big="a" * 10)


def test_many_long_variables_end_at_the_cap():
    with pytest.raises(PromptError, match=f"more than {MAX_PROMPT} characters"):
        render("{{ big }}" * 400, big="a" * 2000)


@settings(max_examples=examples(100))
@given(st.text(alphabet="{}%#-+*~|()[].,:'\"= \nabcity019_ifnotelsr", max_size=200))
def test_any_text_is_a_quickly_rendered_template_or_a_problem(text):
    started = time.process_time()
    with contextlib.suppress(PromptError):
        assert len(render(text)) <= MAX_PROMPT
    assert time.process_time() - started < 1


EXPRESSION = st.recursive(
    st.sampled_from(["city", "count", "big", "'a'", "1", "missing", "9**9", "city.x", "range(9)"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(" ~ ".join),
        st.tuples(inner, inner).map(" * ".join),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} if {pair[1]} else {pair[0]})"),
        inner.map("({})|upper".format),
        inner.map("({})|replace('a', big)".format),
        inner.map("({})|default(big)".format),
    ),
    max_leaves=40,
)


@pytest.mark.slow
@settings(max_examples=examples(75))
@given(EXPRESSION)
def test_whatever_an_expression_combines_stays_bounded(expression):
    started = time.process_time()
    with contextlib.suppress(PromptError):
        assert len(render("{{ " + expression + " }}", big="a" * 2000)) <= MAX_PROMPT
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "written",
    ["9.90", "+4712345678", "1.10", "12e10", "1E3", "-0", "1.0", "0.10", "123456789012345678", "1.5e-7"],
)
def test_a_number_reaches_the_prompt_as_its_file_writes_it(written: str) -> None:
    value = parse_document(f"price: {written}", Path("numbers.yaml")).value["price"]
    assert PromptTemplate("{{ price }} EUR, {{ price|upper }}, {{ 'x' ~ price }}").render(
        {"price": value}
    ) == (f"{written} EUR, {written.upper()}, x{written}")
    assert json.loads(json.dumps(value)) == value, "a parameter stays a number"
    assert str(copy.deepcopy(value)) == str(pickle.loads(pickle.dumps(value))) == written


@pytest.mark.parametrize("written", ["True", "FALSE", "Null", "NULL"])
def test_a_word_that_may_be_text_or_a_truth_value_is_a_problem(written: str) -> None:
    with pytest.raises(ProblemsError, match=rf"{written} is ambiguous: write {written.lower()}, or put text"):
        parse_document(f"sign: {written}", Path("words.yaml"))
    assert parse_document(f"sign: '{written}'", Path("words.yaml")).value == {"sign": written}


@given(st.characters(codec=None))
def test_a_rendered_prompt_contains_only_characters_that_a_file_may_contain(char: str) -> None:
    """Whatever a variable contains: the same rule as for the file's text."""
    refused = ""
    with contextlib.suppress(UnicodeError):
        try:
            render("a {{ city }} b", city=char).encode()
        except PromptError as error:
            refused = str(error)
    assert ("with the control character" in refused) is bool(UNFIT.search(char))


@pytest.mark.parametrize("text", ["Dawn over {place}", "Dawn over ${place}.", "{{ sky }}\nover { place }"])
def test_a_variable_in_single_braces_is_refused_and_not_sent_as_written(text):
    """Such a prompt was once bought with the braces in it."""
    with pytest.raises(
        PromptError, match=r"\{place\} would be sent as it is written; a variable is written \{\{ place \}\}"
    ) as refused:
        PromptTemplate(text).render({"place": "the bay", "sky": "grey"})
    assert refused.value.line == text.count("\n") + 1


@pytest.mark.parametrize("text", ["A page of {json}", "{{ place }}", "{{ '{place}' }}", "a {Place} b"])
def test_other_braces_are_text(text):
    assert PromptTemplate(text).render({"place": "the bay"})
