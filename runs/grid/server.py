"""Imported by the server that forks a process for each run: it leaves signals to the process that it serves.

Schedulers and terminals send them to all processes of a job at once; this one ends when the one that it serves does.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGTERM, signal.SIG_IGN)
if hasattr(signal, "SIGUSR2"):
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
