"""The command line: every command, in the order in which `dailies --help` shows them.

Exit codes: 0 success, 1 some clips failed, 2 a declaration or a setting is wrong, 3 a service does not answer.
"""

import typer

from pipelines.cli.characters import characters_app
from pipelines.cli.commands.operations import operations_app
from pipelines.cli.commands.production import production_app
from pipelines.cli.commands.review import review_app
from pipelines.cli.ledger import ledger_app
from pipelines.cli.models import models_app

app = typer.Typer(
    name="dailies",
    help="Declarative AI-video production on Dagster: every clip bought once, kept in your own bucket.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for commands in (production_app, review_app, operations_app):
    app.add_typer(commands)
app.add_typer(models_app, name="models", rich_help_panel="Look up and manage")
app.add_typer(characters_app, name="characters", rich_help_panel="Look up and manage")
app.add_typer(ledger_app, name="ledger", rich_help_panel="Look up and manage")
