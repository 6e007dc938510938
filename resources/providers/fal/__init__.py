"""fal (https://fal.ai): its client, its contract, and how its answers are read. Nothing outside names it."""

from typing import TYPE_CHECKING, cast

from resources.providers.callbacks import CallbackReader
from resources.providers.fal.contract import CAPABILITIES, DOCUMENTED, NOTES, PUBLIC_URL
from resources.providers.provider import Provider
from resources.providers.spec import Connection, Conventions, ProviderSpec

if TYPE_CHECKING:
    from resources.providers.fal.client import Fal


def _client(connection: Connection) -> Provider:
    from resources.providers.fal.client import Fal

    return Fal(connection)


def _callbacks(client: Provider) -> CallbackReader:
    from resources.providers.fal.signatures import Ed25519Callbacks

    return Ed25519Callbacks(cast("Fal", client).callback_keys)


PROVIDER = ProviderSpec(
    name="fal",
    title="fal",
    url=PUBLIC_URL,
    # fal's own clients read the same variable
    key_variable="FAL_KEY",
    key_scheme="Key",
    build=_client,
    capabilities=CAPABILITIES,
    documented=DOCUMENTED,
    notes=NOTES,
    # its models call a start image `image_url` or `start_image_url` (fal model pages)
    conventions=Conventions(words={"image": ("image_url", "start_image_url")}),
    models_call="GET /v1/models",
    output_hosts=("v3b.fal.media",),
    admin_key=True,
    sandbox_path="/fal",
    callbacks=_callbacks,
)
