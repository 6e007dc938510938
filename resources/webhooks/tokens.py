"""The webhook address of one POST: it contains the submission and a token that only this ledger can make."""

import hashlib
import hmac
import secrets
from collections.abc import Callable

from resources.ledger.ledger import Ledger

KEY_FACT = "webhook_key"


def webhook_key(ledger: Ledger) -> bytes:
    """The ledger's key for tokens, made at its first use."""
    return bytes.fromhex(ledger.remember(KEY_FACT, secrets.token_hex(32)))


def token(key: bytes, account: str, submission_id: str) -> str:
    """The token of one submission, in hex."""
    return hmac.new(key, f"{account}:{submission_id}".encode(), hashlib.sha256).hexdigest()[:40]


def addresses(ledger: Ledger, account: str, base_url: str) -> Callable[[str], str]:
    """Builds webhook addresses of submissions.

    Args:
        base_url: The receiver's address on the internet, without a slash at the end.
    """
    key = webhook_key(ledger)
    return lambda submission_id: f"{base_url}/{account}/{submission_id}/{token(key, account, submission_id)}"
