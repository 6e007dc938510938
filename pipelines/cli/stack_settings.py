"""The settings of a command beside a running `dailies up`, whose sandbox may stand in for the providers."""

from pipelines.cli.stack_state import SANDBOX_KEY_FILE, running_stack
from resources.errors import ConfigurationError
from resources.settings import Settings, load_settings


def running_settings() -> Settings:
    """The settings. If `dailies up` is running, they have its Dagster, and its sandbox as the accounts, as in its runs.

    Raises:
        ConfigurationError: A setting is invalid, or the sandbox's key cannot be read.
    """
    settings = load_settings()
    if settings.reads_bucket:
        from resources.shared_data.source import bring

        settings = bring(settings)
    running = running_stack(settings.home) or {}
    if dagster := running.get("dagster_url"):
        settings = settings.model_copy(update={"dagster_url": str(dagster)})
    url = running.get("sandbox_url")
    if url is None:
        return settings
    file = settings.home / SANDBOX_KEY_FILE
    try:
        key = file.read_text().strip()
    except OSError as error:
        raise ConfigurationError(f"cannot read the sandbox's key {file}: {error.strerror}") from None
    return settings.at_sandbox(url, key)
