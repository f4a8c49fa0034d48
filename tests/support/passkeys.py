"""A fake WebAuthn authenticator, with keys in memory and without attestation."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from fido2.cose import ES256
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    Aaguid,
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
    CollectedClientData,
)

ORIGIN = "http://localhost"
Flag = AuthenticatorData.FLAG


@dataclass
class Device:
    """One passkey. Tests change the fields to forge responses of the device or browser."""

    origin: str = ORIGIN
    rp_id: str = "localhost"
    flags: Flag = Flag.UP | Flag.UV
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    user_handle: str = ""

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Create the passkey, and return the browser's response."""
        public_key = options["publicKey"]
        self.user_handle = public_key["user"]["id"]
        cose_key = ES256.from_cryptography_key(self.key.public_key())  # type: ignore[no-untyped-call]
        data = AttestedCredentialData.create(Aaguid(bytes(16)), self.credential_id, cose_key)
        authenticator_data = AuthenticatorData.create(self._rp_id_hash(), self.flags | Flag.AT, 0, data)
        return self._credential({
            "clientDataJSON": self._client_data(CollectedClientData.TYPE.CREATE, public_key["challenge"]),
            "attestationObject": AttestationObject.create("none", authenticator_data, {}),
        })  # fmt: skip

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """Sign the challenge, and return the browser's response."""
        client_data = self._client_data(CollectedClientData.TYPE.GET, options["publicKey"]["challenge"])
        authenticator_data = AuthenticatorData.create(self._rp_id_hash(), self.flags, 0)
        signed = bytes(authenticator_data) + sha256(client_data).digest()
        credential = self._credential({
            "clientDataJSON": client_data,
            "authenticatorData": authenticator_data,
            "signature": self.key.sign(signed, ec.ECDSA(SHA256())),
        })  # fmt: skip
        credential["response"]["userHandle"] = self.user_handle
        return credential

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return bytes(CollectedClientData.create(kind, websafe_decode(challenge), self.origin))

    def _rp_id_hash(self) -> bytes:
        return sha256(self.rp_id.encode()).digest()

    def _credential(self, response: dict[str, bytes]) -> dict[str, Any]:
        return {
            "id": websafe_encode(self.credential_id),
            "rawId": websafe_encode(self.credential_id),
            "type": "public-key",
            "response": {name: websafe_encode(bytes(value)) for name, value in response.items()},
            "clientExtensionResults": {},
        }
