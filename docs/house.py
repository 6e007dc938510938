"""Draws the packages of `resources` and `pipelines` with their imports into docs/architecture.md.

    python docs/house.py            # redraw it
    python docs/house.py --check    # exit 1 if the drawing differs from the code, or two classes share a name

An arrow that follows from two others is left out.
"""

import ast
import sys
from collections import defaultdict
from pathlib import Path

import grimp

PAGE = Path(__file__).with_name("architecture.md")
BEGIN, END = "<!-- drawn by docs/house.py -->", "<!-- end of the drawing -->"
SMALL = {"resources.errors", "resources.money", "resources.plain", "resources.processes"}
"""Modules that all packages use; their arrows would hide the others."""


def rooms(graph: grimp.ImportGraph) -> dict[str, set[str]]:
    """The packages and single modules below `pipelines` and `resources`, each with those it imports."""
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        here = _room(module)
        arrows = found.setdefault(here, set())
        for imported in graph.find_modules_directly_imported_by(module):
            arrows.add(_room(imported))
    for here, arrows in found.items():
        arrows -= {here, *SMALL}
    return {here: arrows for here, arrows in found.items() if here not in SMALL}


def _room(module: str) -> str:
    first, *rest = module.split(".")
    has_rooms = first == "resources" or rest[:1] == ["cli"]
    return f"{first}.{rest[0]}" if rest and has_rooms else first


def picture(found: dict[str, set[str]]) -> str:
    """The arrows that do not follow from others, as a Mermaid diagram."""
    lines = ["```mermaid", "flowchart TD"]
    for here in sorted(found):
        direct = found[here] & found.keys()
        through = set().union(*(_reached(found, room) for room in direct)) if direct else set()
        lines += [
            f"  {here.removeprefix('resources.')} --> {room.removeprefix('resources.')}"
            for room in sorted(direct - through)
        ]
    return "\n".join([*lines, "```"])


def _reached(found: dict[str, set[str]], start: str) -> set[str]:
    """All packages that `start` imports indirectly."""
    reached: set[str] = set()
    waiting = list(found.get(start, ()))
    while waiting:
        room = waiting.pop()
        if room not in reached:
            reached.add(room)
            waiting += found.get(room, ())
    return reached


def shared_names() -> dict[str, list[str]]:
    """The names that two or more classes have, with the files of each."""
    root = PAGE.parent.parent
    found: dict[str, list[str]] = defaultdict(list)
    folders = ("resources", "pipelines", "proof", "bench")
    for file in sorted(file for folder in folders for file in root.glob(f"{folder}/**/*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(file.relative_to(root)))
    return {name: files for name, files in found.items() if len(files) > 1}


def main() -> None:
    """Draw, or compare."""
    sys.path.insert(0, str(PAGE.parent.parent))
    drawn = picture(rooms(grimp.build_graph("pipelines", "resources", exclude_type_checking_imports=False)))
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    wanted = f"{before}{BEGIN}\n{drawn}\n{END}{after}"
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, encoding="utf-8")
        return
    if wanted != page:
        sys.exit("docs/architecture.md differs from the code: run `python docs/house.py`")
    if shared := shared_names():
        sys.exit(
            "\n".join(f"two classes share the name {n}: {', '.join(files)}" for n, files in shared.items())
        )


if __name__ == "__main__":
    main()
