"""Errors of the bucket, besides those of `resources.errors`."""

from resources.errors import ConfigurationError, DailiesError


class StorageError(DailiesError):
    """The bucket refused a request, and trying again does not help."""


class AccessDeniedError(ConfigurationError):
    """S3 does not accept the key or its signature, or the key lacks a permission."""


class NoSuchBucketError(ConfigurationError):
    """The bucket of the settings does not exist at this endpoint."""


class NoSuchObjectError(StorageError):
    """The bucket has no object under this key."""


class ObjectConflictError(StorageError):
    """Another object is already stored under this key. Objects are immutable: nothing was overwritten."""


class UnsupportedError(StorageError):
    """The server lacks a feature that a request uses, or refuses a part of the request."""


class CorruptUploadError(StorageError):
    """The stored object differs from the uploaded one."""
