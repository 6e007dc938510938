"""Writes the table of docs/providers.md from the contracts of the registered providers.

python docs/providers.py            # rewrite it
python docs/providers.py --check    # exit 1 if the table differs from the contracts
"""

import sys
from collections.abc import Callable
from pathlib import Path

PAGE = Path(__file__).with_name("providers.md")
sys.path.insert(0, str(PAGE.parent.parent))

from resources.providers.provider import LostAnswer  # noqa: E402 - the house is found first
from resources.providers.registry import OURS, registered  # noqa: E402
from resources.providers.spec import ProviderSpec  # noqa: E402

BEGIN, END = "<!-- written by docs/providers.py -->", "<!-- end of the table -->"
LEFT = {
    LostAnswer.KEYED: "nothing within the key's time",
    LostAnswer.NAMED: "nothing, once the listing shows the job",
    LostAnswer.MATCHED: "on a shared key, a POST that the provider does not identify is held",
    LostAnswer.HELD: "every lost answer without a callback",
}


def _yes(there: bool) -> str:
    return "yes" if there else "no"


def duration(seconds: float | None) -> str:
    """A time in the largest unit that fits: `7 days`."""
    if seconds is None:
        return "not stated"
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:g} seconds"


def _key(spec: ProviderSpec) -> str:
    seconds = spec.capabilities.idempotency_seconds
    return "no" if seconds is None else f"for {duration(seconds)}"


def _running(spec: ProviderSpec) -> str:
    offers = spec.capabilities
    return _yes(offers.lists_running) if offers.lists_jobs else "-"


def _remains(spec: ProviderSpec) -> str:
    offers = spec.capabilities
    said = [LEFT[offers.lost_answer], spec.notes.remains]
    if not offers.bills_jobs:
        said.append("there is no bill of single jobs, so sums are estimates and no POST is proved absent")
    return "; ".join(text for text in said if text)


ROWS: tuple[tuple[str, str, Callable[[ProviderSpec], str]], ...] = (
    ("echo", "shows our submission's id", lambda spec: _yes(spec.capabilities.echoes_submission_id)),
    ("listing", "lists jobs", lambda spec: _yes(spec.capabilities.lists_jobs)),
    ("input", "shows each job's request", lambda spec: _yes(spec.capabilities.echoes_input)),
    ("running", "lists running jobs", _running),
    ("window", "lists back to", lambda spec: spec.notes.window if spec.capabilities.lists_jobs else "-"),
    ("bill", "bill by job", lambda spec: _yes(spec.capabilities.bills_jobs)),
    ("callbacks", "signed callbacks", lambda spec: _yes(spec.callbacks is not None)),
    ("retention", "keeps outputs", lambda spec: duration(spec.capabilities.output_seconds)),
    ("cancel", "cancels a job", lambda spec: spec.notes.cancel),
    ("key", "idempotency key", _key),
    ("", "**a lost answer is**", lambda spec: f"**{spec.capabilities.lost_answer}**"),
    ("", "a miss counts after", lambda spec: duration(spec.capabilities.settle_seconds)),
    ("", "what stays uncertain", _remains),
)
"""For each row: the grade's name, the heading, and the text of a provider's cell."""


def table() -> str:
    """The table, a column for each of our providers."""
    ours = {module.rpartition(".")[2] for module in OURS}
    specs = [spec for name, spec in registered().items() if name in ours]
    lines = [["", *(f"[{spec.title}]({spec.url})" for spec in specs)], ["---"] * (len(specs) + 1)]
    for grade, heading, cell in ROWS:
        cells = []
        for spec in specs:
            letter = spec.notes.grades.get(grade)
            cells.append(cell(spec) + (f" ({letter})" if letter and cell(spec) != "-" else ""))
        lines.append([heading, *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Write, or compare."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    wanted = f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, encoding="utf-8")
    elif wanted != page:
        sys.exit("docs/providers.md differs from the contracts: run `python docs/providers.py`")


if __name__ == "__main__":
    main()
