"""The one base class of errors that are meant for people.

A `DailiesError` says what happened, where, what is allowed and what to do next. The CLI prints its text without a
traceback and exits with its `exit_code`; a Dagster run shows it as the failure's description.
"""


class DailiesError(Exception):
    """An error that a person can understand and act on.

    Attributes:
        exit_code: What the `dailies` command returns when this error ends it.
    """

    exit_code = 1


class ConfigurationError(DailiesError):
    """A setting, key or file is missing or wrong; nothing was sent anywhere."""

    exit_code = 2


class UnavailableError(DailiesError):
    """A server that dailies needs (Dagster, S3, a provider) does not answer; trying again later can help."""

    exit_code = 3
