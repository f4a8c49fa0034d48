"""Expected statuses of the pages of share links for guests, for tests/views/test_routes.py.

The table is for a link to alice's file and a guest without an account. Its columns are states of the link: it works, it
shows previews only, it has a password that was not entered, it was revoked, and no link has this token.
"""

GUESTS = ("link", "view_only", "locked", "revoked", "unknown")

SHARED: dict[str, dict[str, str]] = {
    "shared": {"GET": "200 200 200 410 404"},
    "shared_file": {"GET": "200 200 403 410 404"},
    "shared_download": {"GET": "302 403 403 410 404", "HEAD": "200 403 403 410 404"},
    "shared_file_download": {"GET": "302 403 403 410 404", "HEAD": "200 403 403 410 404"},
    "shared_zip": {"GET": "200 403 403 410 404"},
    # the link is to a file without a preview, not to a folder
    "shared_preview": {"GET": "404 404 403 410 404"},
    "shared_preview_page": {"GET": "404 404 403 410 404"},
    "shared_thumbnail": {"GET": "404 404 403 410 404"},
    "shared_folder": {"GET": "404 404 403 410 404"},
    # without the password: an error below the field; a link without a password redirects to its page
    "shared_password": {"POST": "302 302 400 410 404"},
}
