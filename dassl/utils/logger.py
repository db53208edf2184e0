"""Copy what the program prints into a log file."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO, cast

from dassl.lazy import names_from

__getattr__ = names_from(__name__, {"dassl.utils.tools": "mkdir_if_missing"})


class Logger:
    """A text stream that writes to `console` and appends to the file `fpath`, where there is one.

    Progress bars, which rewrite their line with a carriage return, go to the console only.
    """

    def __init__(self, fpath: str | os.PathLike[str] | None = None, console: TextIO | None = None) -> None:
        self.console: TextIO = sys.stdout if console is None else console
        self.file: TextIO | None = None
        if fpath is not None:
            self.path = Path(fpath)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Line-buffered, so that the log of a killed run is complete.
            # Names of files need not be UTF-8: what is not is escaped.
            self.file = self.path.open("a", buffering=1, encoding="utf-8", errors="backslashreplace")

    def write(self, msg: str) -> int:
        """Write `msg` to both; returns its length.

        OSError naming the file if that fails, such as for a full disk; from then on only the console is written to.
        """
        self.console.write(msg)
        if self.file is not None and not msg.startswith("\r"):
            try:
                self.file.write(msg)
            except OSError as error:
                self.close()
                raise OSError(error.errno, f"cannot write {self.path}: {error.strerror}") from error
        return len(msg)

    def flush(self) -> None:
        """Flush both streams."""
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.console, name)  # such as isatty, fileno and encoding

    def close(self) -> None:
        """Close the file; the console stays open."""
        if self.file is not None:
            file, self.file = self.file, None
            with suppress(OSError):  # what could not be written was reported when it was
                file.close()


def setup_logger(output: str | os.PathLike[str] | None = None) -> None:
    """Copy stdout and stderr to `output`: a `.txt`/`.log` file, or `log.txt` in a folder; None does nothing.

    An existing file is continued, so a resumed run's log stays in one place. A second call moves the copy.
    """
    if output is None:
        return
    path = Path(output)
    if path.suffix not in (".txt", ".log"):
        path = path / "log.txt"
    sys.stdout = _tee(sys.stdout, path)
    sys.stderr = _tee(sys.stderr, path)


def _tee(stream: TextIO, path: Path) -> TextIO:
    if isinstance(stream, Logger):
        stream.close()
        stream = stream.console
    return cast(TextIO, Logger(path, stream))
