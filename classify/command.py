"""What the commands have in common: one line for an error that the user can mend, and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from common.text import print_anything

# What a user can mend; everything else is a fault of the program and shows its traceback.
USER_ERRORS = (ValueError, OSError, FloatingPointError)
INTERRUPTED = 130


def guarded(command: Callable[[], int]) -> int:
    """Run ``command`` and return its exit status; errors of the user become ``error: <line>`` on stderr and 1."""
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
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 1


def one_line(error: BaseException) -> str:
    """The error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
