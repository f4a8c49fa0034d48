"""Passwords that everybody tries first."""

from __future__ import annotations

# what images, tutorials and panels come with; nobody needs to guess these
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
    return bool(password) and password.lower() in {*COMMON_PASSWORDS, user.lower()}
