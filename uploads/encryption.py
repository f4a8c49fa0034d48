"""Encryption of secrets in the database, so that a copy of it alone does not reveal them."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

__all__ = ["InvalidToken", "decrypt", "encrypt"]


def encrypt(text: str, *, purpose: bytes) -> str:
    """Return `text` encrypted with a key that is derived from SECRET_KEY for this purpose alone."""
    return _fernets(purpose).encrypt(text.encode()).decode()


def decrypt(encrypted_text: str, *, purpose: bytes) -> str:
    """Return the text. Raises InvalidToken if neither SECRET_KEY nor SECRET_KEY_FALLBACKS encrypted it."""
    return _fernets(purpose).decrypt(encrypted_text.encode()).decode()


def _fernets(purpose: bytes) -> MultiFernet:
    return MultiFernet([_fernet(secret, purpose) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _fernet(secret: str, purpose: bytes) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
