"""S3 errors: which are temporary, and the texts of the others for a person."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.network.proxies import Proxy
from resources.network.trust import is_untrusted
from resources.plain import name, shown, without_queries
from resources.storage.answer_bounds import UnreadableAnswerError
from resources.storage.errors import (
    AccessDeniedError,
    CorruptUploadError,
    NoSuchBucketError,
    NoSuchObjectError,
    ObjectConflictError,
    StorageError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from botocore.exceptions import ProxyConnectionError

_PASSING_CODES = {
    "SlowDown",
    "RequestTimeout",
    "IncompleteBody",  # the connection broke, and the server could still answer
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "ConditionalRequestConflict",  # two writers of one key at once; the loser tries again
    "OperationAborted",
}

_Meaning = tuple[type[DailiesError], str]
_ELSEWHERE: _Meaning = (
    ConfigurationError,
    "the bucket is in another region than AWS_REGION says, or {server} is the wrong address",
)
_REDIRECTED: _Meaning = (
    ConfigurationError,
    "{server} sends requests for this bucket to another address. Set DAILIES_S3_ENDPOINT (and AWS_REGION) to the bucket's own",
)
_EXPIRED: _Meaning = (
    AccessDeniedError,
    "the session token is no longer valid; get new temporary credentials",
)
_REFUSED: _Meaning = (
    AccessDeniedError,
    "{server} refuses this key: it is wrong, or may not s3:ListBucket, s3:GetObject and s3:PutObject here",
)
_SKEWED: _Meaning = (
    ConfigurationError,
    "this machine's clock differs from that of {server}, and signatures depend on it; set the clock",
)
_DAMAGED: _Meaning = (CorruptUploadError, "other bytes arrived than were sent; nothing was stored")
_TAKEN: _Meaning = (ObjectConflictError, "the key is taken")
_VIRTUAL_ONLY: _Meaning = (
    UnsupportedError,
    (
        "{server} wants the bucket in the host's name (virtual-hosted style). That takes DAILIES_S3_ADDRESSING=auto or "
        "virtual, a server with a name (not an IP address), and a bucket without dots and capitals"
    ),
)
_MEANINGS: dict[str, _Meaning] = {
    "NoSuchBucket": (
        NoSuchBucketError,
        "there is no such bucket at {server}. Create it, or correct its name",
    ),
    "NoSuchKey": (NoSuchObjectError, "there is no such object"),
    "InvalidAccessKeyId": (AccessDeniedError, "{server} does not know this access key id"),
    "SignatureDoesNotMatch": (
        AccessDeniedError,
        "{server} computes another signature: the secret access key is wrong, or a proxy before the server changes requests",
    ),
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "RequestTimeTooSkewed": _SKEWED,
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "BadDigest": _DAMAGED,
    "XAmzContentChecksumMismatch": _DAMAGED,
    "PreconditionFailed": _TAKEN,
    "SecondLevelDomainForbidden": _VIRTUAL_ONLY,  # Alibaba Cloud OSS
    "PathStyleDomainForbidden": _VIRTUAL_ONLY,  # Tencent COS
    "VirtualHostDomainRequired": _VIRTUAL_ONLY,  # Huawei OBS
    "InvalidPathAccess": _VIRTUAL_ONLY,  # Volcengine TOS
    "EntityTooLarge": (StorageError, "the object is larger than {server} takes in one request"),
    "QuotaExceeded": (StorageError, "{server} has no room left for this account"),
    "407": (
        ConfigurationError,
        "the proxy before {server} wants a user and a password: write them into HTTP_PROXY, http://user:password@host:port",
    ),
    # the answer to a HEAD has no body, so no code but the status
    "301": _ELSEWHERE,
    "401": _REFUSED,
    "403": _REFUSED,
    "404": (NoSuchObjectError, "there is no such object"),
    "412": _TAKEN,
}
_REDIRECTS = {301, 302, 307, 308}
_REFUSES_A_PART = {400, 405, 411, 415, 417, 501}
"""Statuses of servers that lack a feature: Backblaze B2 answers 501 to If-None-Match, others 400 to a checksum or 411 to a stream."""
_SKEW_SECONDS = 300
"""How far clocks may differ, in seconds: AWS refuses signatures that are more than 15 minutes off."""

_NO_CREDENTIALS: _Meaning = (
    ConfigurationError,
    "there are no S3 credentials. Give an access key id and a secret access key, or set up boto3's own chain",
)
_HERE: dict[str, _Meaning] = {
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "CredentialRetrievalError": _NO_CREDENTIALS,
    "SSLError": (
        ConfigurationError,
        "the server's TLS certificate is not trusted. SSL_CERT_FILE or AWS_CA_BUNDLE names the file of a private authority",
    ),
}
"""The meaning of errors without an answer, by the class of botocore's error."""


def is_code(error: BaseException | None, *codes: str) -> bool:
    """Whether S3 answered with one of these error codes."""
    return _answer(error)[0] in codes


def wants_virtual_addressing(error: DailiesError) -> bool:
    """Whether a server refused a request because it named the bucket in the path."""
    return _MEANINGS.get(_answer(error.__cause__)[0]) is _VIRTUAL_ONLY


def may_be_the_addressing(error: DailiesError) -> bool:
    """Whether the addressing style may be the cause of a refusal. A code with another meaning rules that out."""
    if isinstance(error.__cause__, UnreadableAnswerError) or wants_virtual_addressing(error):
        return True
    code, status = _answer(error.__cause__)
    unclear = code not in _MEANINGS or code in {"NoSuchBucket", "PermanentRedirect", "301", "403"}
    return unclear and (status in _REDIRECTS or status in {400, 403, 404, 405, 501})


def is_transient(error: Exception) -> bool:
    """Whether the same request may succeed in a moment: no connection, a cut, 429, 5xx. Never 403, 404 or 412."""
    from botocore import exceptions as boto

    if isinstance(error, boto.ClientError):
        code, status = _answer(error)
        return code in _PASSING_CODES or status == 429 or (status >= 500 and status != 501)
    if isinstance(error, boto.SSLError):
        return not is_untrusted(error)  # an untrusted certificate is permanent; a cut below TLS is temporary
    if isinstance(error, boto.ProxyConnectionError):
        # a proxy's refusal is permanent; a proxy that does not answer, or cannot reach the server, is temporary
        return (_tunnel_refusal(error) or 502) >= 500
    # botocore lets some errors of urllib3 and http.client through when a body breaks off
    return isinstance(
        error,
        (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError, HTTPError, HTTPException),
    )


def translated(error: Exception, action: str, endpoint: str | None, patience: float) -> Exception:
    """Translate an error for a person. Errors of ours, and of files on this machine, are returned unchanged.

    Args:
        error: The error that botocore raised.
        action: The failed action, e.g. `cannot store s3://bucket/key`.
        endpoint: The address of the server; None for AWS.
        patience: How long the request was repeated, in seconds.
    """
    from botocore import exceptions as boto

    server = f"the S3 server at {without_queries(endpoint)}" if endpoint else "AWS S3"
    code, status = _answer(error)
    if is_transient(error) and not isinstance(error, boto.ProxyConnectionError):
        why = f"answers {_answer_text(code, status)}" if status else "does not answer"
        tried = f" (tried for {patience:g} s)" if patience else ""
        return UnavailableError(f"{action}: {server} {why}{tried}. Is it running, and is the address right?")
    if isinstance(error, boto.ClientError):
        kind, meaning = _meaning_of(error.response, status, code)
        words = shown(str(error.response.get("Error", {}).get("Message") or ""), longest=200)
        is_clear = code in _MEANINGS and meaning is not _ELSEWHERE[1]  # the words may name the right region
        answer = (
            _answer_text(code, status) if is_clear or not words else f"{_answer_text(code, status)}: {words}"
        )
        return kind(f"{action}: {meaning.format(server=server)} ({answer})")
    if isinstance(error, boto.BotoCoreError):
        if isinstance(error, boto.ProxyConnectionError):
            kind, meaning = _proxy_meaning(error, endpoint)
        else:
            kind, meaning = _HERE.get(type(error).__name__, (StorageError, type(error).__name__))
        return kind(f"{action}: {meaning}")
    if isinstance(error, UnreadableAnswerError):
        return StorageError(f"{action}: {server} {error}")
    if isinstance(error, (DailiesError, OSError)):
        return error
    # boto3 does not expect a length of letters, an invalid time or a missing field
    return StorageError(f"{action}: {server} answers what cannot be read as S3 ({type(error).__name__})")


def _meaning_of(response: object, status: int, code: str) -> _Meaning:
    """The meaning of a refusal: by its code if that is known, else by its status and headers."""
    headers = _headers(response)
    if status == 403 and code not in _MEANINGS.keys() - {"403"} and _is_skewed(headers.get("date")):
        return _SKEWED
    if code in _MEANINGS:
        return _MEANINGS[code]
    if status == 403 and code not in {"AccessDenied", "Forbidden"}:
        # its code says why, which need not be the key
        is_page = headers.get("content-type", "").startswith("text/html")
        text = "a web page refuses it, so a proxy or gateway before {server} answered"
        return AccessDeniedError, text if is_page else "{server} refuses it"
    if status in _REDIRECTS:
        kind, meaning = _REDIRECTED
        place = _host(headers.get("location"))
        return kind, f"{meaning}; the server names {place}" if place else meaning
    if status in _REFUSES_A_PART:
        return UnsupportedError, "{server} refuses a part of the request"
    return _MEANINGS.get(str(status)) or (StorageError, "{server} does not want it")


def _headers(response: object) -> dict[str, str]:
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    headers = metadata.get("HTTPHeaders") if isinstance(metadata, dict) else None
    return headers if isinstance(headers, dict) else {}


def _is_skewed(date: str | None) -> bool:
    """Whether the server's clock differs from ours, since a 403 to a HEAD has no body with the reason."""
    try:
        theirs = parsedate_to_datetime(date or "")
    except ValueError:
        return False
    if theirs.tzinfo is None:
        theirs = theirs.replace(tzinfo=UTC)
    return abs((datetime.now(UTC) - theirs).total_seconds()) > _SKEW_SECONDS


def _host(location: str | None) -> str:
    try:
        return name(urlsplit(location or "").hostname or "", longest=100).replace("{", "").replace("}", "")
    except ValueError:
        return ""


def _proxy_meaning(error: "ProxyConnectionError", endpoint: str | None) -> _Meaning:
    """The meaning of a proxy's failure to connect to the server; nothing of the request was sent."""
    # botocore hides the user and the password, but shows that there are some
    proxy = Proxy.parse("HTTPS_PROXY", str(error.kwargs.get("proxy_url", "")))
    status = _tunnel_refusal(error)
    if status is None:
        return UnavailableError, f"the proxy {proxy} does not answer"
    parts = urlsplit(endpoint or "https://s3.amazonaws.com")
    kind = UnavailableError if status >= 500 else ConfigurationError
    return kind, proxy.refusal(status, parts.hostname or "", parts.port or 443)


def _tunnel_refusal(error: "ProxyConnectionError") -> int | None:
    """The status of a proxy's answer to CONNECT; None without an answer."""
    match = re.search(r"Tunnel connection failed: ([0-9]{3})", str(error.kwargs.get("error", "")))
    return int(match[1]) if match else None


def _answer_text(code: str, status: int) -> str:
    return str(status) if code in {"", str(status)} else f"{status} {code}"


def _answer(error: BaseException | None) -> tuple[str, int]:
    """The error code and the HTTP status of an answer; `("", 0)` without one."""
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return "", 0
    code = response.get("Error", {}).get("Code", "")
    return name(str(code), longest=80), int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
