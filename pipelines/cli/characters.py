"""`dailies characters`: list the declared characters and make them."""

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from pipelines.cli.panels import PanelledGroup
from pipelines.cli.terminal import Json, complain, print_json, print_table, table_of, tell

if TYPE_CHECKING:
    from resources.settings import Settings

characters_app = typer.Typer(
    cls=PanelledGroup,
    rich_markup_mode=None,
    help="Characters that clips show, each made once from a reference video.",
    no_args_is_help=True,
)


@characters_app.command("list")
def list_(as_json: Json = False) -> None:
    """Show every declared character: whether it is made, its id, and the series that cast it."""
    from resources.settings import load_settings

    rows = _rows(load_settings())
    if as_json:
        print_json(rows)
        return
    if not rows:
        tell("no characters are declared; declare one in data/characters")
        return
    table = table_of("character", "state", "id", "endpoint", "cast by", wraps={"state", "cast by"})
    for row in rows:
        colour = "green" if row["state"] == "made" else "yellow"
        cast_by = ", ".join(row["cast_by"])
        table.add_row(
            row["character"], Text(row["state"], style=colour), row["id"] or "", row["endpoint"], cast_by
        )
    print_table(table)


@characters_app.command()
def make(
    names: Annotated[list[str], typer.Argument(help="Names of characters.")],
    regenerate: Annotated[
        bool, typer.Option("--regenerate", help="Make characters again although their video is unchanged.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make characters and wait for them. A character that exists for the same video costs nothing."""
    from resources.settings import load_settings

    settings = load_settings()
    failed = _make(settings, list(dict.fromkeys(names)), regenerate=regenerate)
    rows = [row for row in _rows(settings) if row["character"] in names]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            tell(f"{row['character']}: {row['state']} {row['id'] or ''}".rstrip())
    for why in failed:
        complain(why)
    if failed:
        raise typer.Exit(1)


def _rows(settings: "Settings") -> list[dict[str, Any]]:
    from pipelines.cli.declared import declarations_of

    declarations = declarations_of(settings)
    made = declarations.made() if declarations.characters.found else {}
    for problem in declarations.characters.problems:
        complain(str(problem))
    rows = []
    for character in declarations.characters.found.values():
        known = made.get(character.name)
        state = "not made yet"
        if known is not None:
            same = known.fingerprint == character.request.fingerprint
            state = "made" if same else "made from another video"
        rows.append(
            {
                "character": character.name,
                "state": state,
                "id": known.id if known else None,
                "endpoint": character.request.endpoint,
                "provider": character.request.provider,
                "cast_by": [s.name for s in declarations.series.values() if character.name in s.cast],
            }
        )
    return rows


def _make(settings: "Settings", names: Sequence[str], *, regenerate: bool) -> list[str]:
    """Request one run per character and wait; returns the reasons of failed runs."""
    from pipelines.cli.bought import reported_on_interrupt
    from pipelines.cli.dagster_api import DagsterApi
    from pipelines.cli.declared import declarations_of
    from pipelines.cli.launch import partition_store, wait_for_runs
    from pipelines.clip_batch import DECISION_TAG
    from pipelines.partitions import PARTITION, add_characters
    from resources.ledger.decision_clips import fix_clips
    from resources.settings import open_ledger

    declared = declarations_of(settings).characters
    for name in names:
        declared.get(name)
    decision = f"characters:{uuid.uuid4().hex[:12]}"
    config = {"ops": {"characters": {"config": {"regenerate": True}}}} if regenerate else {}
    with DagsterApi.of(settings) as api:
        with partition_store(settings, api) as store, open_ledger(settings) as ledger:
            add_characters(store, names)
            fix_clips(ledger, decision, names)
        with reported_on_interrupt(settings, decision):
            runs = [
                api.launch("make_characters", tags={PARTITION: name, DECISION_TAG: decision}, config=config)
                for name in names
            ]
        ended = wait_for_runs(api, settings, decision, runs, look=lambda: None)
        return [str(api.why_failed(run.run_id)) for run in ended if run.status != "SUCCESS"]
