"""README.md and docs/: links lead somewhere, pictures are small, the notebook runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "docs/quickstart.ipynb"]


def anchors(page: Path) -> set[str]:
    """Return the names that the headings of a page can be linked by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(((?!https?://)[^)\s]*)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_stays_short_and_its_pictures_small():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^\]]+\]\((.*?)\)", text)
    assert len(pictures) == 2 and all((ROOT / name).stat().st_size < 200_000 for name in pictures)
    assert len(text.splitlines()) <= 150


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    cells = json.loads((ROOT / "docs/quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
    program = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (tmp_path / "docs").mkdir()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "docs", env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = {name: float(share) for name, share in re.findall(r"^(\S.*?) +([\d.]+)%  \(95%", done.stdout, re.MULTILINE)}
    assert found["linear probe"] > found["zero-shot CLIP"] + 10
    assert float(re.search(r"on all new images: ([\d.]+)%", done.stdout)[1]) > found["zero-shot CLIP"]
    assert (tmp_path / "output/quickstart/fit/index.html").is_file()
