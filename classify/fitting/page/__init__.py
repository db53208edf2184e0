"""What `fit` found, as one HTML page that needs nothing but itself."""

from __future__ import annotations

from pathlib import Path

from common.files import write_text
from reporting.page import STYLE, document

from . import classes, confidence, images, summary
from .load import Fit, load

PAGE = "index.html"
SECTIONS = {
    "Summary": summary.section,
    "Classes": classes.section,
    "Confusions": classes.confusions,
    "Images": images.section,
    "Confidence": confidence.section,
    "Shots": summary.learning_curve,
    "Prompts": classes.prompts,
    "What next": summary.what_next,
}


def write(out: Path) -> Path:
    """Write `index.html` into a folder that `fit` filled, from its `fit.json` and `predictions.csv`. Returns its path.

    An image that cannot be read any more is left out of the page, which says so.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: one is damaged, or of another version; names it.
    """
    path = Path(out) / PAGE
    write_text(path, page(load(Path(out))))
    return path


def page(fit: Fit) -> str:
    """Return the page: no file and no address outside it is loaded, and nothing on it needs a script."""
    style = STYLE.read_text(encoding="utf-8") + Path(__file__).with_name("fit.css").read_text(encoding="utf-8")
    parts = {heading: text for heading, section in SECTIONS.items() if (text := "\n".join(section(fit)))}
    names = {heading: heading.lower().replace(" ", "-") for heading in parts}
    links = "".join(f'<a href="#{names[heading]}">{heading}</a>' for heading in parts)
    return document(
        f"{fit.content['title']}: a classifier of {len(fit.content['classes'])} classes",
        style,
        [
            f"<nav>{links}</nav>\n<main>",
            *(
                f'<section>\n<h2 id="{names[heading]}">{heading}</h2>\n{text}\n</section>'
                for heading, text in parts.items()
            ),
            "</main>",
        ],
    )
