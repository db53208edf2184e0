"""All that `train.py` imports sooner or later; imported by the server that forks a process for each run."""

from __future__ import annotations

import clip
import dassl.engine  # noqa: F401
import datasets
import runs.results  # noqa: F401
import trainers

datasets.load_all()
for _name in trainers.METHODS:
    trainers.load(_name)
clip.tokenize("")  # reads the vocabulary
