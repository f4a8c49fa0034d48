import sys

from tests.support import oidc_server

if __name__ == "__main__":
    sys.exit(None if oidc_server.is_installed() else oidc_server.install())
