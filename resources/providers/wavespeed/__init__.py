"""WaveSpeedAI (https://wavespeed.ai): its client, its contract, and how its answers are read. Nothing outside names it."""

from typing import TYPE_CHECKING, cast

from resources.providers.callbacks import CallbackReader
from resources.providers.provider import Provider
from resources.providers.spec import Connection, Conventions, ProviderSpec
from resources.providers.wavespeed.contract import CAPABILITIES, DOCUMENTED, NOTES

if TYPE_CHECKING:
    from resources.providers.wavespeed.client import WaveSpeed


def _client(connection: Connection) -> Provider:
    from resources.providers.wavespeed.client import WaveSpeed

    return WaveSpeed(connection)


def _callbacks(client: Provider) -> CallbackReader:
    from resources.providers.wavespeed.signatures import SignedCallbacks

    return SignedCallbacks(cast("WaveSpeed", client).webhook_secret)


PROVIDER = ProviderSpec(
    name="wavespeed",
    title="WaveSpeedAI",
    # the provider's model pages
    url="https://api.wavespeed.ai",
    # its own clients read the same one
    key_variable="WAVESPEED_API_KEY",
    build=_client,
    capabilities=CAPABILITIES,
    documented=DOCUMENTED,
    notes=NOTES,
    # it writes frames as `1280*720` and calls a start image `image` (WaveSpeed docs: model pages)
    conventions=Conventions(words={"image": ("images", "start_image")}, separator="*"),
    models_call="GET /api/v3/models",
    output_hosts=("d2p7pge43lyniu.cloudfront.net", "d11ewybssaphwx.cloudfront.net", "cdn.wavespeed.ai"),
    callbacks=_callbacks,
)
