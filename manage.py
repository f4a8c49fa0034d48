#!/usr/bin/env python
"""Django's command line. Without servers of your own: `python -m amalga.local python manage.py …`."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    if any(argument.encode(errors="replace").decode() != argument for argument in sys.argv):
        sys.stderr.write("Every argument must be UTF-8, and one is not. Nothing was done.\n")
        raise SystemExit(2)
    from django.core.management import execute_from_command_line

    from amalga.log import print_exception

    sys.excepthook = print_exception
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
