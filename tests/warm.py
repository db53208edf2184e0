"""A Python whose imports are done: programs start in a fork of it, in tenths of a second instead of six.

The suite's `python` fixture is a command that takes what `python` takes (`FILE`, `-m MODULE`, `-c CODE`, and words
for them), with its own environment, folder, open files and exit status. One server forks for all workers of a test run.
It cannot be killed with its client: what tests SIGKILL starts a Python of its own.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PRELOAD = """torchvision sklearn.metrics scipy.stats open_clip torch.utils.tensorboard matplotlib.figure dassl.engine
trainers.mmrl trainers.zsclip datasets.digits runs.results runs.record reporting.report""".split()

CLIENT = """#!{python} -ISB
import json, os, signal, socket, sys
files = []
for file in map(int, os.listdir("/dev/fd")):
    try:
        files += [file] * os.get_inheritable(file)
    except OSError:
        pass  # the list's own
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ), files]).encode()
socket.send_fds(server, [len(asked).to_bytes(4, "big")], files)
server.sendall(asked)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: server.sendall(bytes([number])))
status = int(server.makefile().readline() or 70)
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


def command(folder: Path, owner: int) -> Path:
    """Return the path of the command `python` in `folder`; start its server, which ends with the process `owner`."""
    client, address = folder / "python", folder / "python.socket"
    subprocess.Popen([sys.executable, __file__, str(address), str(owner)], cwd=ROOT, start_new_session=True)
    deadline = time.monotonic() + 300
    while not address.exists():
        assert time.monotonic() < deadline, "the server of tests/warm.py does not start"
        time.sleep(0.05)
    part = client.with_suffix(".part")
    part.write_text(CLIENT.format(python=sys.executable, address=str(address)), encoding="utf-8")
    part.chmod(0o755)
    return part.rename(client)


def serve(address: str, owner: int) -> None:
    """Fork for each client until `owner` is gone."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.path[:1] = [str(ROOT)]
    load()
    sys.executable = str(Path(address).with_suffix(""))  # what programs start is a fork too
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{address}.part")
    listener.listen(32)
    os.rename(f"{address}.part", address)
    while alive(owner):
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if select.select([listener], [], [], 1)[0]:
            client, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                attend(client)
            client.close()


def load() -> None:
    """Import and build what every run does, so that forks need not."""
    for name in PRELOAD:
        __import__(name)
    from PIL import Image

    import clip

    Image.init()
    clip.tokenize("")


def alive(process: int) -> bool:
    """Whether there is a process of this number."""
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def attend(client: socket.socket) -> None:
    """Run one client's program in a child, hand signals on to it, and tell the client its exit status."""
    size, files, *_ = socket.recv_fds(client, 4, 64)
    words, folder, environment, numbers = json.loads(client.makefile("rb").read(int.from_bytes(size, "big")))
    child = os.fork()
    if child == 0:
        client.close()
        files = [fcntl.fcntl(file, fcntl.F_DUPFD, max(numbers) + 1) for file in files]  # none in the place of another
        for file, number in zip(files, numbers, strict=True):
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        os._exit(run(words))
    for file in files:
        os.close(file)
    threading.Thread(target=hand_on, args=(client, child), daemon=True).start()
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def hand_on(client: socket.socket, child: int) -> None:
    """Send a client's signals to its program, and SIGKILL when the client is gone."""
    with suppress(OSError):
        while number := client.recv(1):
            os.kill(child, number[0])
        os.kill(child, signal.SIGKILL)


def run(words: list[str]) -> int:
    """Do what `python WORDS` does. Returns the exit status."""
    sys.stdin = open(0, closefd=False)
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    where = os.getcwd() if words[0] in ("-m", "-c") else str(Path(words[0]).resolve().parent)
    sys.path[0] = where
    if not Path(where).is_relative_to(ROOT):
        forget_the_project()
    try:
        sys.argv = words[1:] if words[0] in ("-m", "-c") else words
        if words[0] == "-m":
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        elif words[0] == "-c":
            sys.argv[0] = "-c"
            exec(words[1], {"__name__": "__main__"})
        else:
            runpy.run_path(words[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if status and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    gc.collect()  # ends the workers of loaders
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    return status


def forget_the_project() -> None:
    """A program in another folder finds what lies there, and none of the modules that were loaded from here."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name != "__main__" and file and Path(file).is_relative_to(ROOT) and "site-packages" not in file:
            del sys.modules[name]


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
