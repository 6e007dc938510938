"""AI/ML API (https://aimlapi.com): its client, its contract, and how its answers are read. Nothing outside names it."""

from resources.providers.aimlapi.contract import CAPABILITIES, DOCUMENTED, NOTES
from resources.providers.provider import Provider
from resources.providers.spec import Connection, Conventions, ProviderSpec


def _client(connection: Connection) -> Provider:
    from resources.providers.aimlapi.client import AimlApi

    return AimlApi(connection)


PROVIDER = ProviderSpec(
    name="aimlapi",
    title="AI/ML API",
    # the provider's documentation
    url="https://api.aimlapi.com",
    key_variable="AIMLAPI_API_KEY",
    build=_client,
    capabilities=CAPABILITIES,
    documented=DOCUMENTED,
    notes=NOTES,
    # it calls a start image `image_url`, and has no uploads for video (AI/ML API docs: video models)
    conventions=Conventions(words={"image": ("image_url",)}),
    models_call="GET /v1/models",
    output_hosts=("cdn.aimlapi.com",),
)
