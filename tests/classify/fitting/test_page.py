"""The page of a `fit`: what it says, in words and in a browser, and what it does without."""

from __future__ import annotations

import csv
import json
import re
import shutil
from html import escape, unescape
from pathlib import Path

import pytest

from classify.fitting.page import SECTIONS, classes, write
from classify.fitting.page.load import Fit, load
from tests.browser import Addresses, needs_chromium, probed
from tests.classify.fitting.conftest import FOREIGN, PATH
from tools import pictures


@pytest.fixture(scope="module")
def small(fitted) -> Path:
    """Two classes, one of them with a foreign name; one image is missing and one is damaged."""
    out = fitted([FOREIGN, "dog"], each=10, shift=1.0)
    (out / "photos" / PATH.format(0)).unlink()
    (out / "photos" / PATH.format(1)).write_bytes(b"no image")
    return write(out)


@pytest.fixture(scope="module")
def large(fitted) -> Path:
    """A hundred classes, without a learning curve."""
    return write(fitted([f"class {i}" for i in range(99)] + [60 * "long "], each=3, learning_curve=None))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_it_has_every_section_and_loads_nothing(small, large):
    for page, missing in ((small, set()), (large, {"Shots"})):
        text, parser = text_of(page), Addresses()
        parser.feed(text)
        assert re.findall(r"<h2 .*?>(.*?)</h2>", text) == [name for name in SECTIONS if name not in missing]
        anchors = {address[1:] for address in parser.found if address.startswith("#")}
        assert anchors == set(re.findall(r'id="([^"]+)"', text)) and page.stat().st_size < 2_000_000
        assert all(address.startswith(("#", "data:image/")) for address in parser.found)
        assert not re.search(r"<script|url\(|@import", text) and text.count("<img alt=") == 3 - len(missing)


def test_foreign_names_are_text_and_images_that_cannot_be_read_are_named(small):
    text = text_of(small)
    assert escape(FOREIGN) in text and escape(f"a photo of a {FOREIGN}.") in text
    gone = re.findall(r'<span class="gone" title="(.*?)">', text)
    assert sorted(map(unescape, gone)) == [PATH.format(0), PATH.format(1)]
    assert sum(int(count) for count in re.findall(r"(\d+) images? (?:is|are) not shown", text)) == 2


def test_the_most_wrong_and_the_least_certain_come_first(small):
    with open(small.with_name("predictions.csv"), encoding="utf-8", newline="") as file:
        rows = [(float(row["confidence"]), row["true"] == row["predicted"]) for row in csv.DictReader(file)]
    wrong = sorted((one for one in rows if not one[1]), reverse=True)
    said = [
        f"{'right' if right else 'wrong'}, {100 * sure:.0f}% sure"
        for sure, right in wrong + sorted(set(rows) - set(wrong))
    ]
    assert wrong and re.findall(r"<span>((?:right|wrong), \d+% sure)</span>", text_of(small)) == said
    kept = [right for sure, right in rows if sure >= 0.8]
    decided = f"<td>{100 * len(kept) / len(rows):.1f}</td><td>{100 * sum(kept) / len(kept):.1f}</td>"
    assert f'<th scope="row">80</th>{decided}' in text_of(small)


def test_of_many_classes_the_most_confused_are_shown_and_no_image_is_lost(large):
    text = text_of(large)
    matrix = text[text.index('class="one matrix"') :]
    rows = re.findall(r'<tr><th scope="row" title="(.*?)">.*?</th>(.*?)</tr>', matrix)
    counts = [[int(count) for count in re.findall(r">(\d+)</td>", cells)] for _, cells in rows]
    assert len(rows) == 20 and {(len(row), sum(row)) for row in counts} == {(21, 3)}
    content = json.loads(large.with_name("fit.json").read_text())
    worst = max((count, t, p) for t, row in enumerate(content["confusion"]) for p, count in enumerate(row) if t != p)[0]
    first = re.search(r"Most frequent confusions.*?<td>(\d+)</td>", text, re.DOTALL)
    assert first and int(first[1]) == worst
    pairs = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td><td>\d+</td><td>[\d.]+</td></tr>', text)
    assert {name for pair in pairs[:5] for name in pair} <= {name for name, _ in rows}
    assert "Show 80 more" in text and text.count('class="bar "') == 100


def test_a_class_without_tested_images_is_named():
    rows = [
        {"class": name, "images": 1, "accuracy": a, "zero_shot_accuracy": a} for name, a in (("<a>", None), ("b", 5.0))
    ]
    text = "".join(classes.section(Fit({"per_class": rows}, [])))
    assert "No image was tested of &lt;a&gt;." in text and text.count('class="bar "') == 1


@pytest.mark.parametrize(
    ("file", "content", "why"),
    [
        ("fit.json", None, "there is no .*fit.json: `python mmrl.py fit` writes it"),
        ("fit.json", '{"version"', "fit.json is damaged"),
        ("fit.json", '{"version": 2}', "fit.json is not of version 1"),
        ("predictions.csv", "path,true\n", "predictions.csv is damaged: its columns must be confidence, fold"),
        ("predictions.csv", "path,true,predicted,confidence,fold\na,b,c,?,1\n", "predictions.csv, line 2, is damaged"),
    ],
)
def test_files_that_are_not_whole_are_refused(tmp_path, small, file, content, why):
    for name in ("fit.json", "predictions.csv"):
        shutil.copy(small.with_name(name), tmp_path)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_text(content)
    with pytest.raises((FileNotFoundError, ValueError), match=why):
        write(tmp_path)
    assert not (tmp_path / "index.html").exists()


PROBE = """<p id="probe"></p><script>
window.addEventListener("load", () => {
  const said = [...document.querySelectorAll("iframe")].map((frame) => {
    const page = frame.contentDocument, root = page.documentElement;
    page.querySelectorAll("details").forEach((part) => { part.open = true; });
    const images = [...page.images].filter((image) => image.complete && image.naturalWidth > 60).length;
    const wide = root.scrollWidth - root.clientWidth;
    return `${root.clientWidth}: ${images} of ${page.images.length} images, ${wide} too wide`;
  });
  document.querySelector("#probe").textContent = said.join("; ");
});
</script>"""


@needs_chromium
def test_it_shows_its_images_and_fits_phone_and_desktop(small, large, tmp_path):
    """In frames: headless Chromium makes no window narrower than 500 pixels."""
    frames = [(page, width) for page in (small, large) for width in (390, 1280)]
    style = "border:0;height:900px;width"
    html = [f'<iframe style="{style}:{width}px" srcdoc="{escape(text_of(page))}"></iframe>' for page, width in frames]
    (tmp_path / "frames.html").write_text(f"<!DOCTYPE html>{''.join(html)}{PROBE}", encoding="utf-8")
    counts = {page: text_of(page).count("<img ") for page in (small, large)}
    assert counts == {small: 18 + 3, large: 48 + 2}
    wanted = [f"{width}: {counts[page]} of {counts[page]} images, 0 too wide" for page, width in frames]
    assert probed(tmp_path / "frames.html", 1400).split("; ") == wanted


def test_the_readmes_picture_is_of_the_fit(fitted):
    fit = load(fitted(["ant", "bee", "cat"], shift=1.0))
    figure = pictures.fit_figure(fit)
    bars, matrix, *images = figure.axes
    assert [bar.get_width() for bar in bars.patches] == sorted(row["accuracy"] for row in fit.content["results"])
    counts = [int(text.get_text()) for text in matrix.texts]
    assert counts == [count for row in fit.content["confusion"] for count in row if count]
    titles = [axis.get_title() for axis in images if axis.get_title()]
    assert titles and all(title in {f"{one.predicted} ({one.true})" for one in fit.predictions} for title in titles)
