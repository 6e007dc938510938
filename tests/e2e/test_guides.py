"""The docs name no program that the tests do not know; tests/e2e/test_stack.py runs the commands of the docs."""

import re

import pytest
from guidekit import ELSEWHERE, EVERY_PAGE, OTHER, text_of


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_every_command_of_another_program_is_listed_with_the_reason_why_it_is_not_run(page: str) -> None:
    text = text_of(page)
    unknown = [
        found[1] for found in OTHER.finditer(text) if not any(found[1].startswith(name) for name in ELSEWHERE)
    ]
    assert unknown == []
    # commands stand in indented blocks, where these tests find them
    assert not re.search(r"^```(bash|sh|shell|console)", text, re.MULTILINE)
