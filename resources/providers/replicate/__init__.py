"""Replicate (https://replicate.com): its client, its contract, and how its answers are read. Nothing outside names it."""

from typing import TYPE_CHECKING, cast

from resources.providers.callbacks import CallbackReader
from resources.providers.provider import Provider
from resources.providers.replicate.contract import CAPABILITIES, DOCUMENTED, NOTES
from resources.providers.spec import Connection, Conventions, ProviderSpec

if TYPE_CHECKING:
    from resources.providers.replicate.client import Replicate


def _client(connection: Connection) -> Provider:
    from resources.providers.replicate.client import Replicate

    return Replicate(connection)


def _callbacks(client: Provider) -> CallbackReader:
    from resources.providers.replicate.signatures import StandardWebhooks

    return StandardWebhooks(cast("Replicate", client).webhook_secret)


PROVIDER = ProviderSpec(
    name="replicate",
    title="Replicate",
    url="https://api.replicate.com",
    # its own clients read the same one
    key_variable="REPLICATE_API_TOKEN",
    build=_client,
    capabilities=CAPABILITIES,
    documented=DOCUMENTED,
    notes=NOTES,
    # its models call a start image `image` or `start_image` (Replicate's model pages)
    conventions=Conventions(words={"image": ("start_image",)}),
    models_call="GET /v1/collections/text-to-video",
    output_hosts=("replicate.delivery",),
    # its pages ask for the token; a third party fetches without (Replicate docs: output files)
    keyed_hosts=("replicate.delivery",),
    sandbox_path="/replicate",
    callbacks=_callbacks,
)
