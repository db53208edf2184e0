"""What holds for all tests."""

from __future__ import annotations

import os

# Tests run side by side, on models that are slower with threads; torch reads this when it is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
