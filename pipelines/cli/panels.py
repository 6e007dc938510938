"""A group of commands, with our help text and our error texts."""

from itertools import groupby
from typing import Any

from typer.core import TyperGroup

from pipelines.cli.usage import usage_errors


class PanelledGroup(TyperGroup):
    """Lists the commands of each panel. Rich's boxes would double the time of `--help` and cost four columns."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Read the options before the command's name."""
        with usage_errors():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Read the rest of the command line, and run the command."""
        with usage_errors():
            return super().invoke(ctx)

    # Typer brings a copy of click in some versions, so the classes of these arguments have no one name
    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the commands of each panel as a list."""
        for panel, named in groupby(self.commands.items(), key=lambda one: _panel(one[1])):
            with formatter.section(panel):
                formatter.write_dl([(name, _summary(command)) for name, command in named], col_spacing=3)


def _panel(command: Any) -> str:
    panel = getattr(command, "rich_help_panel", None)
    return panel if isinstance(panel, str) else "Commands"


def _summary(command: Any) -> str:
    return " ".join((command.help or "").partition("\n\n")[0].split())
