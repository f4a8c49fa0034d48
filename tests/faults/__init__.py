"""Faults, against real processes: whoever dies, whatever the store or the database answers, nothing is lost.

    acts.py       what may be asked of the site: a request, or a command of manage.py
    player.py     a process that plays acts in children which may die; `mortals.py` is how tests reach it
    witness.py    what must hold afterwards, told by the rows and the bucket alone
    stage.py      a client that repeats what was not answered, and time that passes
    scenarios.py  for each fault point the ways that lead to it

`make test` runs the short form, `make test-faults` all of it (marked `faults`).
"""
