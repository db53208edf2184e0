"""Classified images on one HTML page that needs nothing but itself. Nothing here needs torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape

from common.files import write_text
from dassl.cores import available
from dassl.utils.images import Reading

from .thumbnails import data_uri

MOST = 1500  # thumbnails on a page, of about 4 kB each
STYLE = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 76rem; padding: 0 1rem; }
div { display: flex; flex-wrap: wrap; gap: .75rem; }
figure { margin: 0; width: 96px; font-size: .75rem; overflow-wrap: anywhere; }
img { display: block; width: 96px; height: 96px; object-fit: contain; background: #8882; }
"""

Row = tuple[str, str, float]  # path of an image, its class, the probability of that


def write(path: str, rows: Sequence[Row], reading: Reading, about: str) -> None:
    """Write a page with the images of each class, the least certain first; of large classes the least certain only.

    Args:
        path: the file to write.
        rows: the images; each could be read.
        reading: how image files are read.
        about: a line of text below the heading.
    """
    groups: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row[1], row[2])):
        groups.setdefault(row[1], []).append(row)
    most = max(1, MOST // len(groups))
    shown = [row for group in groups.values() for row in group[:most]]
    with ThreadPoolExecutor(min(8, available())) as pool:
        thumbnails = dict(zip(shown, pool.map(lambda row: data_uri(row[0], reading=reading), shown), strict=True))
    title = f"{len(rows)} classified images"
    body = [
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>',
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>',
        f"<body>\n<h1>{title}</h1>\n<p>{escape(about)}</p>",
    ]
    for name, group in groups.items():
        left_out = f", the {most} least certain are shown" if len(group) > most else ""
        figures = "\n".join(_figure(row, thumbnails[row]) for row in group[:most])
        body.append(f"<h2>{escape(name)}: {len(group)}{left_out}</h2>\n<div>\n{figures}\n</div>")
    write_text(path, "\n".join([*body, "</body>\n</html>\n"]))


def _figure(row: Row, thumbnail: str) -> str:
    path, name, probability = row
    caption = f"{100 * probability:.1f}% {escape(os.path.basename(path))}"
    alt = f"{escape(path)}, classified as {escape(name)}"
    return (
        f'<figure title="{escape(path)}"><img src="{thumbnail}" alt="{alt}"><figcaption>{caption}</figcaption></figure>'
    )
