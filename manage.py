#!/usr/bin/env python
"""Django's command line. Without your own servers: `python -m amalga.local python manage.py …`."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "amalga.settings")
    if any(argument.encode(errors="replace").decode() != argument for argument in sys.argv):
        fail("An argument is not UTF-8.")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from amalga.log import print_exception, redact, single_line

    sys.excepthook = print_exception
    if sys.argv[1:2] in (["version"], ["--version"]):  # Django would print its own, and this needs no settings
        from uploads.management.commands.version import Command

        Command().run_from_argv([sys.argv[0], "version", *sys.argv[2:]])
        return
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        fail(single_line(redact(str(error))))


def fail(message: str) -> None:
    sys.stderr.write(f"Error: {message}\n")
    raise SystemExit(2)


if __name__ == "__main__":
    main()
