"""Error texts for mistakes on the command line: the fault, the allowed values, and the next step."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from resources.errors import ConfigurationError, DailiesError

USAGE = 2
"""The exit code of a wrong command line."""
_EXTRA = re.compile(r"Got unexpected extra argument(?:s|\(s\))? \((.*)\)", re.DOTALL)
_KINDS = {"int": "a whole number", "float": "a number", "datetime": "a day as YYYY-MM-DD"}


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Replace click's error about the command line with ours.

    Raises:
        ConfigurationError: The command line is wrong.
    """
    try:
        yield
    # some versions of Typer bundle a copy of click, so the class differs; the attributes are the same
    except Exception as error:
        if (
            not hasattr(error, "format_message")
            or getattr(error, "exit_code", None) != USAGE
            or _shows_help(error)
        ):
            raise
        # click reports a missing value of an option without a context
        context = getattr(error, "ctx", None)
        command = "dailies" if context is None else context.command_path
        of_command = "".join(f"{word}: " for word in [command.partition(" ")[2]] if word)
        if type(error).__name__ == "BadParameter" and getattr(error, "param", None) is None:
            # a sentence of the command itself, which knows what it has done
            raise ConfigurationError(f"{of_command}{error.message}") from error  # type: ignore[attr-defined]
        mistake = _mistake(error)
        end = "" if mistake.endswith("?") else "."
        raise ConfigurationError(
            f"{of_command}{mistake}{end} Nothing was done. `{command} --help` shows what it takes."
        ) from error


@contextlib.contextmanager
def before_buying() -> Iterator[None]:
    """Add to an error of a command that buys that nothing was bought, unless the error says so."""
    try:
        yield
    except (DailiesError, OSError) as error:
        if "othing was " not in str(error):
            error.add_note("Nothing was bought.")
        raise


def _shows_help(error: Any) -> bool:
    return type(error).__name__ == "NoArgsIsHelpError"


def _mistake(error: Any) -> str:
    parameter = getattr(error, "param", None)
    message = str(error.format_message()).removesuffix(".")
    if parameter is None:
        if close := getattr(error, "possibilities", None):
            return f"{message[:1].lower()}{message[1:].partition(' (')[0].partition('. ')[0]}; did you mean {' or '.join(close)}?"
        more = _EXTRA.match(message)
        if not more:
            return message[:1].lower() + message[1:]
        return f"nothing more is taken, but there is {more[1]}{_as_account(error, more[1])}"
    is_option = parameter.param_type_name == "option"
    name = parameter.opts[0] if is_option else parameter.metavar or parameter.name.upper()
    if type(error).__name__ == "MissingParameter":
        return f"{name} is missing"
    allowed = _allowed(parameter)
    value = _given_value(error)
    if allowed is None or value is None:
        return f"{name}: {str(error.message).removeprefix('Value error, ').removesuffix('.')}"
    return f"{name} takes {allowed}, not {value!r}"


def _as_account(error: Any, words: str) -> str:
    """The command that a person meant who named an account without its option."""
    options = [name for parameter in error.ctx.command.params for name in parameter.opts]
    if "--account" not in options or " " in words:
        return ""
    return f"; did you mean `{error.ctx.command_path} --account {words}`?"


def _given_value(error: Any) -> object:
    """The value that was refused; None if the error does not name it."""
    cause = error.__cause__
    details = cause.errors() if hasattr(cause, "errors") else []
    return details[0].get("input") if details else None


def _allowed(parameter: Any) -> str | None:
    """The values that an option takes, for kinds that a person may get wrong; None for others."""
    kind: Any = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    if hasattr(kind, "__members__"):
        return " or ".join(str(member.value) for member in kind)
    words = _KINDS.get(getattr(kind, "__name__", ""))
    least, most = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if words is None or (least is None and most is None):
        return words
    if most is None:
        return f"{words}, {least} or more"
    return f"{words} from {least} to {most}"
