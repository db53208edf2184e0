"""What every command is made of: a parser that explains itself, one line for an error, an exit status.

A command is a module whose docstring is its help:

    from common import commandline

    def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
        parser = commandline.parser(__doc__)
        parser.add_argument("images", nargs="+", metavar="IMAGES", help="image files")
        return parser.parse_args(argv)

    def predict(args: argparse.Namespace) -> int:
        ...  # raises ValueError or OSError with one line for the user; returns the exit status

    main = commandline.command(parse_args, predict)

    if __name__ == "__main__":
        sys.exit(main())

Exit status: 0 done, 1 error, 2 wrong arguments, 130 interrupted (`INTERRUPTED`); a command may return others.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from common.text import print_anything

# What a user can mend: shown as one line. Everything else is a fault of the program and shows its traceback.
# KeyError is what trainers of other repositories raise for a setting or name that is not there.
USER_ERRORS = (ValueError, KeyError, OSError, FloatingPointError)
INTERRUPTED = 130


def parser(doc: str | None, prog: str | None = None, short: bool = False) -> argparse.ArgumentParser:
    """Return a parser whose help is a module's docstring: its first paragraph above the arguments, the rest below.

    Args:
        doc: the docstring.
        prog: how the command is called (default: the script's name).
        short: whether wrong arguments are told in one line without the usage, and options cannot be cut short.
    """
    summary, _, details = (doc or "").partition("\n\n")
    return (_ShortParser if short else argparse.ArgumentParser)(
        prog=prog,
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=not short,
    )


class _ShortParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"error: {message} (-h explains)", file=sys.stderr)
        sys.exit(2)


def run(command: Callable[[], int]) -> int:
    """Carry out `command` and return its exit status.

    What a user can mend (`USER_ERRORS`, too little memory) becomes `error: LINE` on stderr and 1, Ctrl-C 130; other
    exceptions pass. Names that the terminal's encoding lacks are printed escaped.
    """
    print_anything()
    try:
        status = command()
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of stdout, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if not isinstance(error, USER_ERRORS) and type(error).__name__ != "OutOfMemoryError":
            raise
        print(f"error: {one_line(error)}", file=console())
        return 1


def command(
    parse_args: Callable[[list[str] | None], argparse.Namespace], work: Callable[[argparse.Namespace], int]
) -> Callable[..., int]:
    """Return a command's `main`, which takes its words (default: `sys.argv`) and returns its exit status.

    It can be pickled, as a grid does to start runs.
    """
    return partial(_main, parse_args, work)


def _main(
    parse_args: Callable[[list[str] | None], argparse.Namespace],
    work: Callable[[argparse.Namespace], int],
    argv: list[str] | None = None,
) -> int:
    args = parse_args(argv)
    return run(lambda: work(args))


def one_line(error: BaseException) -> str:
    """Return an error's text on one line; for a full disk with what to do."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    if "\nOriginal Traceback" in text:  # of a loader worker: torch puts its whole traceback into the text
        text = text.strip().rsplit("\n", 1)[-1].partition(": ")[2]
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        text += "; make room, and the same command goes on"
    return " ".join(text.split()) or type(error).__name__


def console() -> Any:
    """Return stderr, without the log that a run may have put behind it: that may be what cannot be written."""
    return getattr(sys.stderr, "console", sys.stderr)
