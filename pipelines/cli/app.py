"""The command line: every command, in the order in which `dailies --help` shows them.

A module of commands imports what a command needs only when it runs, so that `--help` does not wait for SQLAlchemy, pydantic or Dagster.

Exit codes: 0 success, 1 some clips failed, 2 a declaration or a setting is wrong, 3 a service does not answer.
"""

from typing import Annotated

import typer

from pipelines.cli.characters import characters_app
from pipelines.cli.commands.operations import operations_app
from pipelines.cli.commands.production import production_app
from pipelines.cli.commands.review import review_app
from pipelines.cli.commands.takes import takes_app
from pipelines.cli.data import data_app
from pipelines.cli.ledger import ledger_app
from pipelines.cli.models import models_app
from pipelines.cli.panels import PanelledGroup
from pipelines.cli.partitions import partitions_app
from pipelines.cli.policy import policy_app
from pipelines.cli.providers import providers_app

app = typer.Typer(
    name="dailies",
    cls=PanelledGroup,
    help="Declarative AI-video production on Dagster: every clip bought once, kept in your own bucket.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"dailies {version('dailies')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Declarative AI-video production on Dagster: every clip bought once, kept in your own bucket."""


for commands in (production_app, takes_app, review_app, operations_app):
    app.add_typer(commands)
app.add_typer(models_app, name="models", rich_help_panel="Look up and manage")
app.add_typer(characters_app, name="characters", rich_help_panel="Look up and manage")
app.add_typer(ledger_app, name="ledger", rich_help_panel="Look up and manage")
app.add_typer(data_app, name="data", rich_help_panel="Look up and manage")
app.add_typer(policy_app, name="policy", rich_help_panel="Look up and manage")
app.add_typer(providers_app, name="providers", rich_help_panel="Look up and manage")
app.add_typer(partitions_app, name="partitions", rich_help_panel="Look up and manage")
