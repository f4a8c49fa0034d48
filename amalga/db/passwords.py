"""Common passwords of databases."""

from __future__ import annotations

# defaults of images, tutorials and control panels, which attackers try first
COMMON_PASSWORDS = {
    "postgres",
    "password",
    "admin",
    "root",
    "secret",
    "changeme",
    "example",
    "amalga",
    "123456",
    "test",
}


def is_common_password(user: str, password: str) -> bool:
    """Return whether the password is a common one, or the name of the user."""
    return bool(password) and password.lower() in {*COMMON_PASSWORDS, user.lower()}
