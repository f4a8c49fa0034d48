"""The MFA adapter: encryption of the second factors' secrets."""

from __future__ import annotations

import base64
import logging
import secrets
from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

logger = logging.getLogger(__name__)

PURPOSE = b"amalga second factors"


class EncryptedMFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Encrypt the secrets in the database, so that a copy of it contains no usable second factor."""

    def encrypt(self, text: str) -> str:
        return _fernets().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """Return the secret, or a random one that no code matches if SECRET_KEY was replaced."""
        try:
            return _fernets().decrypt(encrypted_text.encode()).decode()
        except InvalidToken:
            logger.warning("two_factor_unreadable reason=secret_key_changed")
            return base64.b32encode(secrets.token_bytes(20)).decode()

    def get_totp_label(self, user: Any) -> str:
        return str(user.get_username())


def _fernets() -> MultiFernet:
    return MultiFernet([_fernet(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def _fernet(secret: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
