"""Faults in real processes: crashes, storage errors and database outages lose no files.

    actions.py      a request to the site, or a command of manage.py, and its result
    in_process.py   runs actions in the process of the tests
    fork_server.py  a process that runs each action in a child that may crash
    processes.py    how tests reach the fork server, and real gunicorn and manage.py processes
    clients.py      clients of a real server that retry
    invariants.py   what must hold afterwards, by the rows and the bucket alone
    harness.py      a client that repeats unanswered requests, and simulated time
    scenarios.py    scenarios that reach each failpoint

`make test-all` runs the short form, `make test-faults` all of it (marked `faults`).
"""
