"""The command line: the same jobs as in Blender, for a shell."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from ...job.errors import JobError
from . import models
from .exit_codes import EXIT_CANCELLED, EXIT_FAILED, EXIT_UNREAD, EXIT_USAGE
from .generate import add_commands
from .options import Parser

EXITS = """exit status: 0 done, 1 failed, 2 wrong arguments, 130 interrupted by Ctrl+C (the best so far is kept),
141 nobody reads the output any more, 143 terminated (a checkpoint is stored first)"""
DEBUG = "CSD_DEBUG"  # in the environment: show where an unforeseen error happened


class Patient:
    """A text stream whose reader may be gone: nothing that is written to it raises."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def main(argv: Sequence[str]) -> int:
    """Run one command; returns the process's exit status. Failures print one sentence, never a traceback."""
    with contextlib.redirect_stderr(Patient(sys.stderr)):
        if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text
            sys.stdout.reconfigure(errors="surrogateescape")
        try:
            try:
                status = _answered(argv)
            except SystemExit as end:  # of the parser: help, or arguments that are wrong
                status = end.code if isinstance(end.code, int) else EXIT_USAGE
            sys.stdout.flush()
            return status
        except BrokenPipeError:  # as in `csd models | head`
            _forget_stdout()
            return EXIT_UNREAD
        except OSError as error:
            _forget_stdout()
            print(f"Error: the output cannot be written: {error.strerror or error}.", file=sys.stderr)
            return EXIT_FAILED


def _answered(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    if not getattr(arguments, "online", False):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return arguments.run(arguments)
    except JobError as error:
        print(f"Error: {error.text} {error.fix}".strip(), file=sys.stderr)
        if error.detail:
            print(f"  ({error.detail})", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"Error: {error.filename or 'the output'}: {error.strerror or error}.", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return EXIT_CANCELLED
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        first = (str(error).splitlines() or [""])[0][:200]
        print(f"Error: something went wrong inside: {type(error).__name__} {first}".rstrip(), file=sys.stderr)
        print(f"  (with {DEBUG}=1 in the environment, the same command shows where)", file=sys.stderr)
        return EXIT_FAILED


def _forget_stdout() -> None:
    """Nothing more can be written; what waits in the buffer must not complain when the process ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="csd",
        description="Textures for meshes, and objects from text, by classifier score distillation.",
        epilog=EXITS,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="be the process behind Blender: JSON lines on stdin and stdout")
    serve.set_defaults(run=_serve)

    add_commands(commands)

    doctor = commands.add_parser("doctor", help="check the installation")
    doctor.add_argument("--json", action="store_true")
    doctor.set_defaults(run=_doctor)

    models.add_commands(commands)
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    from ..worker.serve import serve

    os._exit(serve())  # an orderly end would abort: a thread waits for stdin


def _doctor(arguments: argparse.Namespace) -> int:
    from .doctor import examine, report

    checks = examine()
    print(json.dumps([vars(c) for c in checks], indent=1) if arguments.json else report(checks))
    return 0 if all(c.ok for c in checks) else EXIT_FAILED
