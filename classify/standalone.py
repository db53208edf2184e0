"""Classify images with onnxruntime, numpy and Pillow alone: python classify.py photo.jpg photos/ --top 3"""

import argparse
import json
import struct
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


class Classifier:
    """The model of a folder: `Classifier("this/folder").predict(["photo.jpg"])`, in the order of its `classes`."""

    def __init__(self, folder, model="classifier.onnx"):
        about = json.loads((Path(folder) / "classifier.json").read_text(encoding="utf-8"))
        self.classes, self.steps = about["classes"], about["preprocessing"]
        self.session = onnxruntime.InferenceSession(str(Path(folder) / model), providers=["CPUExecutionProvider"])

    def predict(self, paths):
        """Return probabilities [N, C] of image files."""
        return np.concatenate([self.session.run(None, {"images": self.prepare(path)})[0] for path in paths])

    def prepare(self, path):
        """Return an image file as the model takes it: float32 [1, 3, H, W]."""
        steps, (height, width) = self.steps, self.steps["center_crop"]
        image = read(path, upright=steps["read"] == "upright")
        shorter = steps.get("resize_shorter_side")
        size = [int(shorter * side / min(image.size)) for side in image.size] if shorter else [width, height]
        image = image.resize(size, Image.Resampling[steps["interpolation"].upper()])
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.float32) / 255
        pixels = (pixels - np.float32(steps["mean"])) / np.float32(steps["std"])
        if steps.get("instance_norm"):
            pixels = (pixels - pixels.mean((0, 1))) / (pixels.std((0, 1), ddof=1) + np.float32(1e-8))
        return pixels.transpose(2, 0, 1)[None]


def read(path, upright):
    """Return an image file in RGB, as it is stored or `upright`: turned as EXIF says, on white where transparent."""
    with Image.open(path) as image:
        image.load()
        tags = getattr(image, "tag_v2", {})
        if image.mode in ("I", "F") and image.format not in ("PNG", "PPM"):
            raise ValueError("it has 32 bits a pixel: save it with 8 or 16")
        with suppress(SyntaxError, ValueError, LookupError, struct.error):  # damaged EXIF says nothing
            image = ImageOps.exif_transpose(image) if upright else image
        if image.mode[0] == "I":  # the upper 8 bits of each grey count
            grey = np.asarray(image)
            alpha = np.where(grey == image.info.get("transparency", -1), 0, 255)
            grey = grey >> (tags.get(258, (16,))[0] - 8)
            image = Image.fromarray(np.dstack([255 - grey if tags.get(262) == 0 else grey, alpha]).astype(np.uint8))
        if upright and (image.mode[-1] in "Aa" or "transparency" in image.info):
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        return image.convert("RGB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", type=Path, help="files, and folders with all images below them")
    parser.add_argument("--top", type=int, default=1, help="how many classes to show (default 1)")
    parser.add_argument("--model", default="classifier.onnx", help="such as classifier.int8.onnx")
    args = parser.parse_args()
    model, known, status = Classifier(Path(__file__).parent, args.model), Image.registered_extensions(), 0
    for place in args.images:
        below = sorted(path for path in place.rglob("*") if path.suffix.lower() in known and path.name[0] != ".")
        for path in below if place.is_dir() else [place]:
            try:
                row = model.predict([path])[0]
            except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
                print(f"error: cannot read {path}: {error}", file=sys.stderr)
                status = 1
                continue
            best = np.argsort(-row)[: args.top]
            print(path, *(f"{model.classes[i]} {100 * row[i]:.1f}" for i in best), sep="\t", flush=True)
    sys.exit(status)
