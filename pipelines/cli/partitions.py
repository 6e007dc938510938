"""`dailies partitions`: show clips in Dagster again after the retention removed them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.completion import complete_key
from pipelines.cli.panels import PanelledGroup
from pipelines.cli.terminal import Json, note, print_json, tell

if TYPE_CHECKING:
    import dagster as dg

    from resources.ledger.ledger import Ledger
    from resources.ledger.records import Attempt

partitions_app = typer.Typer(
    cls=PanelledGroup,
    rich_markup_mode=None,
    help="Clips that Dagster shows. Ledger and bucket keep all of them.",
    no_args_is_help=True,
)


@partitions_app.command()
def restore(
    clips: Annotated[list[str], typer.Argument(help="Keys of delivered clips.", autocompletion=complete_key)],
    as_json: Json = False,
) -> None:
    """Show delivered clips again in Dagster after their partitions were removed. Buys nothing."""
    from pipelines.cli.dagster_api import DagsterApi
    from pipelines.cli.launch import dagster_instance, is_here
    from pipelines.cli.terminal import counted
    from resources.settings import load_settings, open_ledger

    settings = load_settings()
    if is_here(settings):
        with open_ledger(settings) as ledger, dagster_instance(settings) as instance:
            restored = restore_clips(instance, ledger, clips)
    else:
        with open_ledger(settings) as ledger:
            restored = list(_delivered(ledger, clips))
        with DagsterApi.of(settings) as api:
            config = {"ops": {"show_delivered_takes": {"config": {"keys": restored}}}}
            run = api.launch("show_delivered_clips", tags={}, config=config)
            note(f"requested one run: {api.url}/runs/{run}")
    if as_json:
        print_json({"clips": restored})
    else:
        tell(f"{counted(len(restored), 'clip')} shown again in Dagster")


def restore_clips(instance: "dg.DagsterInstance", ledger: "Ledger", keys: Sequence[str]) -> list[str]:
    """Add the partitions of delivered clips, and log each clip's current take in all four assets.

    Raises:
        ConfigurationError: A clip has no delivered take.
    """
    from pipelines.inventory import show_delivered

    current = _delivered(ledger, keys)
    show_delivered(instance, ledger, current.values())
    return list(current)


def _delivered(ledger: "Ledger", keys: Sequence[str]) -> "dict[str, Attempt]":
    """The current take of each clip; raises ConfigurationError for a clip without one."""
    from resources.errors import ConfigurationError

    current = dict(ledger.shown(keys))
    unknown = [key for key in keys if key not in current]
    if unknown:
        raise ConfigurationError(
            f"{', '.join(unknown)}: no take is delivered, so there is nothing to show; `dailies status` shows all clips"
        )
    return current
