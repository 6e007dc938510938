"""The settings a command has to use beside a running `dailies up`: its sandbox stands in for the providers there too."""

from pydantic import SecretStr

from pipelines.cli.stack import SANDBOX_KEY_FILE, running_stack
from resources.errors import ConfigurationError
from resources.settings import Settings, load_settings


def running_settings() -> Settings:
    """The settings; where `dailies up` runs with a sandbox, the accounts are at that sandbox, as they are for its runs.

    Raises:
        ConfigurationError: A setting is invalid, or the sandbox's key cannot be read.
    """
    settings = load_settings()
    running = running_stack(settings.home) or {}
    url = running.get("sandbox_url")
    if url is None:
        return settings
    file = settings.home / SANDBOX_KEY_FILE
    try:
        key = SecretStr(file.read_text().strip())
    except OSError as error:
        raise ConfigurationError(f"cannot read the sandbox's key {file}: {error.strerror}") from None
    at_sandbox = {
        "wavespeed_url": url,
        "wavespeed_api_key": key,
        "aimlapi_url": url,
        "aimlapi_api_key": key,
        "allowed_origins_setting": url,
        "wavespeed_dedicated": True,
        "aimlapi_dedicated": True,
    }
    return settings.model_copy(update=at_sandbox)
