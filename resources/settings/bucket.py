"""The settings of the bucket."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError

from resources.errors import ConfigurationError
from resources.providers.account_variables import none_if_empty
from resources.settings.clients import ClientSettings
from resources.settings.messages import in_words
from resources.storage.s3_client import S3Settings

_S3_VARIABLES = {
    "bucket": "DAILIES_S3_BUCKET",
    "endpoint_url": "DAILIES_S3_ENDPOINT",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
    "settings": "DAILIES_S3_*, AWS_*",
}
"""The variables of the fields of `S3Settings`; `settings` if several of them contradict each other."""


class BucketSettings(ClientSettings):
    """Where clips are kept, by the names of the environment variables."""

    s3_endpoint: Annotated[str | None, BeforeValidator(none_if_empty)] = Field(
        default=None, validation_alias="DAILIES_S3_ENDPOINT"
    )
    """Address of an S3-compatible server; unset is AWS."""
    s3_bucket: str | None = Field(default=None, validation_alias="DAILIES_S3_BUCKET")
    """Name of the bucket."""
    s3_region: str = Field(default="us-east-1", validation_alias="AWS_REGION")
    """Its region."""
    s3_addressing: Literal["auto", "path", "virtual"] = Field(
        default="auto", validation_alias="DAILIES_S3_ADDRESSING"
    )
    """Whether requests name the bucket in the path or in the host's name; `auto` finds out by a trial."""
    s3_access_key_id: Annotated[str | None, BeforeValidator(none_if_empty)] = Field(
        default=None, validation_alias="AWS_ACCESS_KEY_ID"
    )
    """The bucket's key; unset, boto3's own chain is used (profile, instance role)."""
    s3_secret_access_key: Annotated[SecretStr | None, BeforeValidator(none_if_empty)] = Field(
        default=None, validation_alias="AWS_SECRET_ACCESS_KEY"
    )
    """Its secret."""
    s3_session_token: Annotated[SecretStr | None, BeforeValidator(none_if_empty)] = Field(
        default=None, validation_alias="AWS_SESSION_TOKEN"
    )
    """The token of a temporary key."""

    def s3(self) -> S3Settings:
        """The settings of the bucket.

        Raises:
            ConfigurationError: No bucket is named, or a setting is invalid.
        """
        if not self.s3_bucket:
            raise ConfigurationError(
                "no bucket is set: set DAILIES_S3_BUCKET (and DAILIES_S3_ENDPOINT for a server that is not AWS), "
                "or run `dailies up`, which starts an S3 server."
            )
        try:
            return S3Settings(
                bucket=self.s3_bucket,
                endpoint_url=self.s3_endpoint,
                region=self.s3_region,
                addressing=self.s3_addressing,
                access_key_id=self.s3_access_key_id,
                secret_access_key=self.s3_secret_access_key,
                session_token=self.s3_session_token,
                network=self.network,
            )
        except ValidationError as error:
            raise ConfigurationError(f"Invalid S3 settings: {in_words(error, _S3_VARIABLES)}") from None
