"""The commands of the docs, and how each ends where there is no key, no other machine and mostly nothing to do."""

import re
import shlex

from commandkit import ROOT

COMMAND = re.compile(r"^ {4,8}(?:\.venv/bin/)?dailies ([^#\n]+)", re.MULTILINE)
PROGRAMS = r"\.venv/bin/(?!dailies )|(?:make|sudo|docker|helm|kubectl|python3?|pip|git|curl|systemctl|apt|pg_dump|pg_restore|cd|/srv/\S+) "
OTHER = re.compile(rf"^ {{4,8}}((?:{PROGRAMS})[^#\n]*)", re.MULTILINE)
DAYS = ["producers-day.md", "data-engineers-guide.md"]
LOST = "lost-ledger.md"
FILES_OF_THE_PAGE = {"FILE", "backup.db", "ledger.dump"}
ELSEWHERE_CARRIED_OUT = {
    "join-a-deployment.md": "a second Dagster, with code of its own: tests/e2e/test_join.py"
}
"""Pages that no test of the stack runs, and why."""
EVERY_PAGE = sorted(
    {"../README.md", "../CONTRIBUTING.md", *(file.name for file in (ROOT / "docs").glob("*.md"))}
)
PAGES = [page for page in EVERY_PAGE if page not in {*DAYS, LOST, *ELSEWHERE_CARRIED_OUT}]
CLIP = "product-loop-walnut-morning-sun"
NOT_HERE = {
    "up": "is the stack of this test",
    "room": "serves until Ctrl-C; tests/room",
    "webhooks": "serves until Ctrl-C; tests/webhooks",
    "providers test": "a minute; tests/conformance",
    "characters make": "buys a character; tests/pipelines/test_characters.py",
}
"""Commands that are not run here, and why."""
ELSEWHERE = {
    "make": "installs, tests or measures",
    "sudo": "needs a machine of its own: apt, systemd",
    "docker": "needs containers",
    "pg_dump": "needs PostgreSQL; tests/ledger",
    "pg_restore": "needs PostgreSQL; tests/ledger",
    "/srv/films": "tests/e2e/test_join.py",
    "cd /srv/films": "tests/e2e/test_join.py",
    "cd deploy": "needs containers",
    "helm": "needs a cluster",
    "kubectl": "needs a cluster",
    "git": "a clone",
    ".venv/bin/pre-commit": "changes the clone",
    ".venv/bin/pytest": "is what runs this",
    ".venv/bin/python -m proof": "tests/simulation",
    ".venv/bin/python -m resources.sandbox": "serves until Ctrl-C; tests/sandbox",
    "python -c": "a measurement",
    "python3 -m venv": "installs",
}
"""Commands of other programs, and why none is run here."""
ENDS = {
    r"(produce|retake|finish|verify-provider|schedules on)\b": ({0, 2}, ""),
    r"accept CLIP": ({2}, "not in quarantine"),
    r"retry CLIP": ({2}, "nothing to retry"),
    r"retry$": ({0, 2}, ""),
    r"resolve CLIP": ({1, 2}, ""),
    r"ledger (restore|rebuild)": ({2, 3}, "running"),
    r"models add wavespeed maker": ({1, 2}, "maker/model"),
    r"doctor --alarm": ({2}, "DAILIES_ALARM_URL"),
    r"fetch .*--sign": ({2}, "sign"),
    r"fetch 'harbor": ({2}, "no clip that was bought fits"),
    r"inspect|doctor|plan|ledger --check": ({0, 1}, ""),
}
"""Commands that do not end with 0: a question gets no answer, or the situation does not exist."""
ASKS = {"produce", "retry", "retake", "circle"}
"""Commands whose question a person answers with y."""
IS_THE_STACK = "up"


def commands(page: str) -> list[list[str]]:
    """The command lines of a page."""
    return [shlex.split(found[1]) for found in COMMAND.finditer(text_of(page))]


def text_of(page: str) -> str:
    """The text of a page."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8")
