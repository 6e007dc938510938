"""What can go wrong with the bucket, besides what `resources.errors` already names."""

from resources.errors import ConfigurationError, DailiesError


class StorageError(DailiesError):
    """The bucket refused a request in a way that trying again does not mend."""


class AccessDeniedError(ConfigurationError):
    """S3 knows neither the key nor its signature, or the key may not do this."""


class NoSuchBucketError(ConfigurationError):
    """The bucket of the settings does not exist at this endpoint."""


class NoSuchObjectError(StorageError):
    """The bucket holds nothing under this key."""


class ObjectConflictError(StorageError):
    """Another object is already stored under this key. Objects are immutable: nothing was overwritten."""


class UnsupportedError(StorageError):
    """The server cannot do what a request asks for, or refuses a part of it that others take."""


class CorruptUploadError(StorageError):
    """What the bucket holds after an upload is not what was sent."""
