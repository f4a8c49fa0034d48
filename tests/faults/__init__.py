"""Faults, against real processes: whoever dies, whatever the store or the database answers, nothing is lost.

    actions.py      a request to the site, or a command of manage.py, and its result
    in_process.py   runs actions in the process of the tests
    fork_server.py  a process that runs each action in a child that may crash
    processes.py    how tests reach the fork server, and real gunicorn and manage.py processes
    clients.py      clients of a real server that retry
    invariants.py   what must hold afterwards, by the rows and the bucket alone
    harness.py      a client that repeats what was not answered, and time that passes
    scenarios.py    for each failpoint the ways that lead to it

`make test-all` runs the short form, `make test-faults` all of it (marked `faults`).
"""
