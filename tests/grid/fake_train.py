"""Stands in for `train.main`: quick, and does as its seed says. Forked children import it by its name."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path

FAIL, DIE, HANG = 3, 4, 5  # seeds


def together(runs: list[list[str]], consoles: list[Path], ended: Callable[[int, int], None]) -> None:
    for number, words in enumerate(runs):
        with consoles[number].open("w") as console, redirect_stderr(console):
            ended(number, main([*words, str(len(runs))]))


def main(words: list[str] | None = None) -> int:
    words = sys.argv[1:] if words is None else words
    folder = Path(words[words.index("--output-dir") + 1])
    seed = int(words[words.index("--seed") + 1])
    folder.mkdir(parents=True, exist_ok=True)
    print(f"CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES')}")
    (folder / "argv.txt").write_text("\n".join(words))
    (folder / "gpu.txt").write_text(str(os.environ.get("CUDA_VISIBLE_DEVICES")))
    (folder / "cores.txt").write_text(os.environ.get("GRID_CORES", ""))
    (folder / "began").write_text(str(time.monotonic()))
    if seed == FAIL:
        print("error: a line about it", file=sys.stderr)
        print("and something after", flush=True)
        return 1
    if seed == DIE:
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == HANG and "--eval-only" not in words and not (folder / "saved").exists():
        signal.signal(signal.SIGTERM, lambda *_: (folder / "saved").touch())
        (folder / "hangs").touch()
        while not (folder / "saved").exists():
            time.sleep(0.01)
        return 75
    (folder / "ended").write_text(str(time.monotonic()))
    return 0
