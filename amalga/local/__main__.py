"""python -m amalga.local [--ephemeral] COMMAND…, or --serve for the whole of Amalga (what `make run` does)."""

from __future__ import annotations

import argparse
import sys

from amalga.local.processes import Signals, StartupError, StopSignal
from amalga.local.server import DevEnvironment, run_command, serve

REFUSED = 2


def main() -> int:
    arguments = _parser().parse_args()
    signals = Signals(with_parent=arguments.with_parent)
    environment: DevEnvironment | None = None
    try:
        environment = DevEnvironment(throwaway=arguments.ephemeral)
        if arguments.serve:
            return serve(environment, signals)
        return run_command(arguments.command, environment, signals)
    except StartupError as error:
        print(f"amalga: {error}", file=sys.stderr)
        return REFUSED
    except PermissionError as error:
        print(
            f"amalga: {error.filename} belongs to another user of this machine. Delete it, or set LOCAL_FOLDER.",
            file=sys.stderr,
        )
        return REFUSED
    except StopSignal as stopped:
        return 128 + stopped.signal
    finally:
        signals.ignore()
        if environment:
            environment.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m amalga.local",
        description="Run a command with an embedded Postgres and S3, or with your own, if DATABASE_URL or "
        "AWS_STORAGE_BUCKET_NAME are set.",
    )
    parser.add_argument(
        "--ephemeral",
        action="store_true",
        help="use new data on free ports, and delete it at the end (LOCAL_SUPERUSER_URL is the superuser of Postgres)",
    )
    parser.add_argument("--with-parent", action="store_true", help="stop when the process that started this ends")
    parser.add_argument("--serve", action="store_true", help="migrate, then serve Amalga on PORT (8000)")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND…")
    return parser


if __name__ == "__main__":
    sys.exit(main())
