"""docs/weights.md against what the code takes."""

from __future__ import annotations

import re
from pathlib import Path

import open_clip
import pytest

from clip import _MODELS
from clip.open_clip_models import architecture

PAGE = (Path(__file__).parents[2] / "docs" / "weights.md").read_text(encoding="utf-8")


def test_page_lists_the_architectures_of_open_clip_that_are_taken() -> None:
    if not open_clip.__version__.startswith("3.3."):
        pytest.skip(f"the page is of open_clip 3.3, this is {open_clip.__version__}")
    taken = {name for name in open_clip.list_models() if not architecture(name).foreign}
    section = PAGE.split("## open_clip's architectures")[1].split("##")[0].replace("`-quickgelu`", "")
    listed = {name for name in re.findall(r"`([\w-]+)`", section) if "_" not in name}
    assert listed == {name for name in taken if not name.endswith("-quickgelu")}
    assert f"{len(taken)} of them" in section


def test_page_lists_the_models_of_openai() -> None:
    assert set(re.findall(r"`([^`]+)`", PAGE.split("| OpenAI's |")[0].splitlines()[-1])) == set(_MODELS)
