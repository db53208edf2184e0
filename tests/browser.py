"""A page as a browser sees it, and what it would load."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium runs this")


class Addresses(HTMLParser):
    """Collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert tag not in ("link", "iframe", "object", "embed")


def probed(page: Path, window: int) -> str:
    """Return what a script on a page has put into its element `probe`."""
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={page.parent / f'profile{window}'}",
    ]
    options += [f"--window-size={window},900", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    done = subprocess.run([str(CHROMIUM), *options], capture_output=True, text=True, timeout=120)
    found = re.search(r'<p id="probe">(.*?)</p>', done.stdout)
    assert found, done.stderr[-2000:]
    return found[1]
