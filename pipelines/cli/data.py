"""`dailies data`: one data folder for every host, kept in the bucket."""

from typing import Annotated

import typer

from pipelines.cli import terminal
from pipelines.cli.panels import PanelledGroup
from pipelines.cli.terminal import Json, counted, print_json, tell

data_app = typer.Typer(
    cls=PanelledGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="One data folder for every host: store it in the bucket, and see what changed.",
)
Digest = Annotated[str | None, typer.Argument(help="The first digits of a pushed folder's digest.")]


@data_app.callback()
def data() -> None:
    """One data folder for every host: store it in the bucket, and see what changed."""


@data_app.command("push")
def push(
    note: Annotated[str, typer.Option("--note", "-m", help="What changed, for `dailies data log`.")] = "",
    as_json: Json = False,
) -> None:
    """Store this host's data folder in the bucket, and make it current on every host. Hosts with DAILIES_DATA=bucket read it."""
    from pipelines.cli.data_folders import push_folder
    from pipelines.cli.data_table import push_document
    from pipelines.cli.stack_settings import running_settings
    from resources.ledger.policy_history import in_force
    from resources.settings import open_ledger

    settings = running_settings()
    pushed = push_folder(settings, note=note)
    with open_ledger(settings) as ledger:
        refusal = in_force(ledger).refusal
    if refusal is not None:
        terminal.note(refusal)
    if as_json:
        print_json(push_document(pushed))
    else:
        tell(
            f"{pushed.digest[:12]} is current on every host: {counted(pushed.files, 'file')}, {pushed.bytes / 1e6:.2f} MB"
        )


@data_app.command("log")
def log(as_json: Json = False) -> None:
    """Show every folder that was pushed, oldest first: when, by whom, and with which note."""
    from pipelines.cli.data_table import push_document, show_pushes
    from resources.ledger.data_pushes import pushes
    from resources.settings import load_settings, open_ledger

    with open_ledger(load_settings()) as ledger:
        pushed = pushes(ledger)
    if as_json:
        print_json([push_document(one) for one in pushed])
    else:
        show_pushes(pushed)


@data_app.command("diff")
def diff(before: Digest = None, after: Digest = None, as_json: Json = False) -> None:
    """Show how this host's folder differs from the current or another pushed folder, or how two pushed folders differ.

    Exits with 1 if they differ.
    """
    from pipelines.cli.data_folders import compare
    from pipelines.cli.data_table import show_difference
    from pipelines.cli.stack_settings import running_settings

    difference = compare(running_settings(), before, after)
    if as_json:
        print_json(difference.document())
    else:
        show_difference(difference)
    raise typer.Exit(1 if difference.changes else 0)
