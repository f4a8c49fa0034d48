"""Expected statuses of the routes below the link of a file request; also used by tests/views/test_routes.py."""

# By route and verb: the status for a guest who has sent a file, and for others with the link, including members.
# Any other verb is 405.
GUEST_ROUTES: dict[str, dict[str, str]] = {
    "guest_upload": {"GET": "200 200", "HEAD": "200 200", "POST": "200 200"},
    "guest_uploads": {"GET": "200 200", "HEAD": "200 200", "POST": "200 200"},
    "guest_upload_detail": {"GET": "200 404", "HEAD": "200 404", "DELETE": "204 404"},
    "guest_sign_parts": {"POST": "200 404"},
    "guest_finish": {"POST": "409 404"},  # the parts are missing
    "cancel_guest_upload": {"POST": "302 404"},
}
