"""`dailies policy`: the caps, limits and settle times in force, who set them, and this host's different settings."""

import typer

from pipelines.cli.panels import PanelledGroup
from pipelines.cli.terminal import Json, print_json, tell

policy_app = typer.Typer(
    cls=PanelledGroup,
    rich_markup_mode=None,
    invoke_without_command=True,
    help="The caps, limits and settle times in force on every host.",
)


@policy_app.callback()
def policy(context: typer.Context, as_json: Json = False) -> None:
    """Show the caps, limits and settle times in force on every host. Exits with 2 if this host's settings differ."""
    if context.invoked_subcommand is not None:
        return
    from pipelines.cli.policy_table import document, show
    from pipelines.cli.stack_settings import running_settings
    from resources.ledger import keys, refused_hosts
    from resources.ledger.policy_history import in_force
    from resources.settings import open_ledger

    settings = running_settings()
    with open_ledger(settings) as ledger:
        force = in_force(ledger)
        uses = {name: use for name in settings.account_names if (use := keys.look_up(ledger, name)).declared}
        refused = refused_hosts.refused(ledger)
    if as_json:
        print_json(document(force, uses, refused))
    else:
        show(force, uses, refused)
    raise typer.Exit(0 if force.refusal is None else 2)


@policy_app.command("apply")
def put_in_force() -> None:
    """Put this host's settings and its files in data/accounts in force on every host. Settings that they leave out stay unchanged."""
    from pipelines.cli.policy_table import changes, person
    from pipelines.cli.stack_settings import running_settings
    from resources.ledger.policy_history import apply
    from resources.settings import open_ledger

    settings = running_settings()
    with open_ledger(settings) as ledger:
        changed = apply(ledger, settings.policy, who=person())
        for line in changes(ledger, changed):
            tell(line)
    if not changed:
        tell("nothing changed: this host's settings are in force already")


@policy_app.command("log")
def log(as_json: Json = False) -> None:
    """Show every change of the policy, oldest first, with its time and author."""
    from pipelines.cli.policy_table import history_document, show_history
    from pipelines.cli.stack_settings import running_settings
    from resources.ledger.policy_history import history
    from resources.settings import open_ledger

    with open_ledger(running_settings()) as ledger:
        entries = history(ledger)
    if as_json:
        print_json(history_document(entries))
    else:
        show_history(entries)
