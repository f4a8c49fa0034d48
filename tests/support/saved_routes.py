"""Expected statuses of the pages of favorites and saved searches, for tests/views/test_routes.py.
`delete_search` is for a search that does not exist: tests/views/test_saved.py tests the rest.
"""

SAVED: dict[str, dict[str, str]] = {
    "favorite_file": {"POST": "login 404 302 302 302 302 302"},
    "favorite_folder": {"POST": "login 404 302 302 302 302 302"},
    "saved_searches": {"GET": "login 200 200 200 200 200 200"},
    "save_search": {"POST": "login 302 302 302 302 302 302"},
    "delete_search": {"POST": "login 404 404 404 404 404 404"},
}
