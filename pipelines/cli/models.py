"""`dailies models`: list the endpoints, compare them with the providers, and draft new ones."""

import datetime as dt
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.panels import PanelledGroup
from pipelines.cli.terminal import Json, Long, print_json

models_app = typer.Typer(
    cls=PanelledGroup,
    rich_markup_mode=None,
    help="Endpoints: list them, compare them with the providers, draft new ones.",
)


@models_app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    provider: Annotated[str | None, typer.Option(help="Only endpoints of this provider.")] = None,
    long: Long = False,
    as_json: Json = False,
) -> None:
    """List every endpoint in data/models: price, lengths, state, and how a lost answer is settled; with --long, the day of its last check too."""
    if context.invoked_subcommand is not None:
        return
    from pipelines.cli.endpoints import as_document, catalogue_of, print_endpoints, refuse_unknown
    from resources.settings import load_settings

    refuse_unknown(provider)
    catalogue = catalogue_of(load_settings())
    today = dt.datetime.now(dt.UTC).date()
    shown = sorted(
        (e for e in catalogue if provider in {None, e.provider}),
        key=lambda e: (e.provider, e.lifecycle.retired(today), e.id),
    )
    if as_json:
        print_json([as_document(endpoint, today) for endpoint in shown])
    else:
        print_endpoints(shown, today, long=long)
    raise typer.Exit(2 if catalogue.problems else 0)


@models_app.command()
def show(
    endpoint: Annotated[str, typer.Argument(help="Its id, e.g. openai/sora-2/text-to-video.")],
    provider: Annotated[str | None, typer.Option(help="The provider, if two sell it.")] = None,
    as_json: Json = False,
) -> None:
    """Show one endpoint: every parameter with its default and allowed values, and its uncertain facts."""
    from pipelines.cli.endpoints import as_document, catalogue_of, show_endpoint
    from resources.settings import load_settings

    shown = catalogue_of(load_settings()).get(endpoint, provider)
    today = dt.datetime.now(dt.UTC).date()
    if as_json:
        print_json(as_document(shown, today))
    else:
        show_endpoint(shown, today)


@models_app.command()
def check(
    provider: Annotated[str | None, typer.Option(help="Only this provider.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the catalogue with the providers' lists and quotes. Free; exits with 1 if something has changed."""
    from pipelines.cli.endpoints import catalogue_of, compare, print_drifts
    from pipelines.cli.stack_settings import running_settings

    settings = running_settings()
    catalogue = catalogue_of(settings)
    drifts, checked = compare(settings, catalogue, provider)
    if as_json:
        print_json({"checked": checked, "drifts": [vars(drift) for drift in drifts]})
    else:
        print_drifts(drifts, checked)
    raise typer.Exit(1 if any(drift.matters for drift in drifts) else 2 if catalogue.problems else 0)


@models_app.command()
def add(
    provider: Annotated[str, typer.Argument(help="A provider; `dailies models` names all.")],
    model: Annotated[str, typer.Argument(help="The provider's model id.")],
    to: Annotated[
        Path | None, typer.Option(help="The file to write; by default in data/models; - prints.")
    ] = None,
) -> None:
    """Draft an entry for a new model from the provider's list. Buys nothing."""
    from pipelines.cli.endpoints import add_endpoint
    from pipelines.cli.stack_settings import running_settings

    add_endpoint(running_settings(), provider, model, to)
