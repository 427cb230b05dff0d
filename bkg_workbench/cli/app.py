"""Runs one command: reads the command line, calls its function, turns the end into an exit code.

Owns the boundary beyond which no traceback goes (`--debug` shows them). The functions of the
commands are found by the name that the parser gives, so that a command loads only what it needs.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from bkg_workbench.cli import codes
from bkg_workbench.cli.console import Console
from bkg_workbench.cli.parser import make_parser
from bkg_workbench.errors import WorkbenchError

Command = Callable[[argparse.Namespace, Console], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `bkg` with `argv` (without the program's name) and give its exit code."""
    parser = make_parser()
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else codes.USAGE
    if not hasattr(arguments, "command"):
        parser.print_help(sys.stderr)
        return codes.USAGE
    console = Console(is_json=arguments.json)
    logger = _log_to(console, arguments.debug)
    try:
        return _run(arguments, console)
    finally:
        logging.getLogger().removeHandler(logger)


def _run(arguments: argparse.Namespace, console: Console) -> int:
    try:
        return _command(arguments.command)(arguments, console)
    except WorkbenchError as error:
        if arguments.debug:
            traceback.print_exc(file=console.err)
        code = codes.exit_code(error)
        console.error(error, code)
        return code
    except KeyboardInterrupt:
        console.note("")
        return codes.INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return codes.PIPE
    except Exception as error:
        # The last boundary: whatever it was, the user gets a sentence.
        if arguments.debug:
            traceback.print_exc(file=console.err)
        what = f"{type(error).__name__}: {error}".rstrip(": ")
        console.trouble(f"something went wrong inside ({what}); `--debug` shows where")
        return codes.INTERNAL


def _command(name: str) -> Command:
    module, _, function = name.partition(":")
    found: Command = getattr(importlib.import_module(f"bkg_workbench.cli.{module}"), function)
    return found


def _forget_stdout() -> None:
    """Keep the interpreter's own flush at exit from failing on the pipe once more."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass


class _Sentence(logging.Formatter):
    """A log record as a sentence; a traceback only where it was asked for."""

    def __init__(self, debug: bool) -> None:
        super().__init__("bkg: %(message)s")
        self._debug = debug

    def format(self, record: logging.LogRecord) -> str:
        if self._debug or not record.exc_info:
            return super().format(record)
        error = record.exc_info[1]
        return f"bkg: {record.getMessage()} ({type(error).__name__}: {error})"


def _log_to(console: Console, debug: bool) -> logging.Handler:
    handler = logging.StreamHandler(console.err)
    handler.setLevel(logging.DEBUG if debug else logging.WARNING)
    handler.setFormatter(_Sentence(debug))
    logging.getLogger().addHandler(handler)
    return handler
