"""`fit` on images that its CLIP has never seen the like of: the textiles of conformal-clip-data, if it is installed."""

from __future__ import annotations

import json
import shutil

import pytest

from classify import fit

pytestmark = pytest.mark.slow
EACH = 20


def test_fit_on_textiles(tmp_path):
    root = pytest.importorskip("conformal_clip_data").textile_simulated_root()
    for kind in ("nominal", "global", "local"):
        (tmp_path / "textiles" / kind).mkdir(parents=True)
        for image in sorted((root / kind).glob("*.jpg"))[:EACH]:
            shutil.copy(image, tmp_path / "textiles" / kind)
    options = ["FEATURES.FOLDER", str(tmp_path / "features")]
    fitted = fit(tmp_path / "textiles", backbone="embedded", folds=2, out=tmp_path / "out", options=options)
    assert fitted.classes == ["global", "local", "nominal"]
    facts = json.loads((tmp_path / "out/fit.json").read_text())
    assert facts["class_images"] == [EACH] * 3
    (best,) = (row for row in facts["results"] if row["chosen"])
    assert best["method"] == "TipAdapter" and best["low"] < best["accuracy"] < best["high"]
    assert (tmp_path / "out/index.html").is_file()
