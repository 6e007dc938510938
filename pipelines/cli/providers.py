"""`dailies providers`: try a provider's client against its front at the sandbox."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from pipelines.cli.panels import PanelledGroup
from pipelines.cli.terminal import Json, console, counted, print_json, print_table, table_of, tell

if TYPE_CHECKING:
    from resources.conformance.kit import KitFinding
    from resources.providers.spec import ProviderSpec

providers_app = typer.Typer(
    cls=PanelledGroup,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Providers: try a client against its stand-in.",
)
COLOURS = {"passed": "green", "failed": "red", "not offered": "dim", "not run": "yellow"}


@providers_app.callback()
def providers() -> None:
    """Providers: try a client against its stand-in."""


@providers_app.command("test")
def try_provider(
    module: Annotated[
        str, typer.Argument(help="A registered provider, or package:PROVIDER.", metavar="MODULE")
    ],
    as_json: Json = False,
) -> None:
    """Run the conformance kit on a provider's client: about a minute, no key, no network, nothing bought.

    Its front at the sandbox must be installed, by the entry-point group `dailies.sandbox`. The exit code is 1 when a check fails.
    """
    import asyncio

    from resources.conformance.kit import Result, examine
    from resources.conformance.kit import as_json as document

    findings = asyncio.run(examine(load_spec(module)))
    if as_json:
        print_json(document(findings))
    else:
        show(findings)
    raise typer.Exit(any(finding.result is Result.FAILED for finding in findings))


def load_spec(module: str) -> "ProviderSpec":
    """Load a provider by its name in the registry, or as `package:PROVIDER`, also from the working folder.

    Raises:
        ConfigurationError: It cannot be loaded, or is not a ProviderSpec.
    """
    from importlib.metadata import EntryPoint

    from resources.errors import ConfigurationError
    from resources.providers.registry import GROUP, spec_of
    from resources.providers.spec import ProviderSpec

    if ":" not in module:
        return spec_of(module)
    sys.path.insert(0, str(Path.cwd()))
    try:
        spec = EntryPoint(module, module, GROUP).load()
    except Exception as error:  # another package may raise anything when it is imported
        raise ConfigurationError(f"{module} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(spec, ProviderSpec):
        raise ConfigurationError(
            f"{module} is not a ProviderSpec; its package must export PROVIDER = ProviderSpec(...)"
        )
    return spec


def show(findings: "list[KitFinding]") -> None:
    """Print the findings as a table, and for each failed check what the client did and what the contract requires."""
    table = table_of("about", "check", "result")
    for finding in findings:
        table.add_row(finding.about, finding.check, Text(finding.result, style=COLOURS[finding.result]))
    print_table(table)
    failed = [finding for finding in findings if finding.result == "failed"]
    for finding in failed:
        console.print()
        console.print(Text(f"{finding.about} {finding.check}", style="red bold"))
        tell(f"  it did: {finding.did}")
        tell(f"  the contract asks: {finding.asks}")
    console.print()
    passed = sum(finding.result == "passed" for finding in findings)
    tell(f"{counted(passed, 'check')} passed, {len(failed)} failed")
