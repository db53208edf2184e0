"""A classifier as a program that needs neither this project nor, as ONNX, PyTorch; checked before it is kept.

The class features are constants in it: images ``[B, 3, H, W]``, preprocessed, to probabilities ``[B, C]``, any B.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import inspect
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from common.commandline import one_line
from common.files import sha256, write_bytes, write_json
from common.text import check_folder
from runs.environment import versions

from .classifier import Classifier
from .images import Labelled
from .quantized import quantize

TORCH, ONNX, INT8 = "torch", "onnx", "int8"
FILES = {TORCH: "classifier.pt2", ONNX: "classifier.onnx", INT8: "classifier.int8.onnx"}
ABOUT, SCRIPT = "classifier.json", "classify.py"
INPUT, OUTPUT = "images", "probabilities"
TOLERANCE = 1e-4  # of a probability
Scorer = Callable[[Tensor], Tensor]


class Program(nn.Module):
    """What is exported; the text tower stays behind, its class features are a buffer."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier
        self.method, self.visual = classifier.method, classifier.method.clip_model.visual  # whose tensors are exported
        self.class_features: Any
        if isinstance(classifier.class_features, Tensor):
            self.register_buffer("class_features", classifier.class_features)
        else:
            self.class_features = classifier.class_features

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 3, H, W] -> [B, C]``."""
        return self.classifier.forward(images, self.class_features)


def export(
    classifier: Classifier,
    out: str | os.PathLike[str],
    formats: list[str],
    opset: int | None = None,
    check: Labelled | None = None,
    temperature: float | None = None,
) -> dict:
    """Write the classifier (fp32, on the CPU) into ``out`` in the given formats, with ``classifier.json``.

    Each file is loaded again and compared with PyTorch, on noise and on photographs, alone and three at once; none is
    left that differs by more than 1e-4 in any probability, but for ``INT8``, whose differences are told. With ONNX
    comes ``classify.py``, which needs neither PyTorch nor this project. Returns the content of ``classifier.json``.

    Args:
        formats: of ``TORCH``, ``ONNX`` and ``INT8``, in this order; the last needs ``ONNX`` before it.
        opset: version of the ONNX operators; by default torch's.
        check: images with classes, on which the accuracy of each ONNX file is measured.
        temperature: of calibrated probabilities; only noted in ``classifier.json``.

    Raises ValueError where probabilities are not finite, torch's exporter cannot, a program differs, a package is
    missing, or ``out`` holds files of an earlier export that would not be replaced, or another ``classify.py``.
    """
    check_folder(str(out))
    if ONNX in formats:
        check_packages()
    folder = Path(out)
    script = Path(__file__).with_name("standalone.py").read_bytes()
    stale = [name for form, name in FILES.items() if form not in formats and (folder / name).exists()]
    if (folder / SCRIPT).exists() and (folder / SCRIPT).read_bytes() != script:
        stale.append(f"a {SCRIPT} that is edited, or")
    if stale:
        raise ValueError(f"{folder} holds {stale[0]} of an earlier export: remove it or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    program = Program(classifier).eval()
    samples = sample_images(classifier)
    with torch.no_grad():
        sound = bool(program(samples).isfinite().all())
    if not sound:
        method = classifier.about["method"]
        raise ValueError(f"{method} gives probabilities that are NaN or infinite: nothing is exported; train it again")
    about = describe(classifier)
    if temperature is not None:
        about["calibration"] = {"temperature": temperature}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".incomplete-") as place:
        exported = trace(program, samples)
        for form in formats:
            path = Path(place) / FILES[form]
            facts: dict[str, Any] = {"name": path.name}
            about["files"][form] = facts
            if form == TORCH:
                scorer = write_torch(exported, path)
            elif form == ONNX:
                scorer = write_onnx(program, exported, samples, path, opset)
            else:
                scorer = write_int8(path.with_name(FILES[ONNX]), path)
                facts["mean_difference"] = float(differences(scorer, program, samples).mean())
            facts["largest_difference"] = compare(scorer, program, samples, path.name, 1 if form == INT8 else TOLERANCE)
            facts["bytes"], facts["sha256"] = path.stat().st_size, sha256(path)
            if check is not None and form != TORCH:
                facts["accuracy"] = accuracy(scorer, classifier, check)
        for form in formats:
            os.replace(Path(place) / FILES[form], folder / FILES[form])
    if ONNX in formats:
        write_bytes(folder / SCRIPT, script)
    write_json(folder / ABOUT, about)
    return about


def describe(classifier: Classifier) -> dict[str, Any]:
    """What a user of the files must know, and where they come from."""
    origin = dict(classifier.about)
    size = origin["preprocessing"]["center_crop"]
    return {
        "classes": classifier.classes,
        "input": {"name": INPUT, "shape": ["batch", 3, *size], "type": "float32"},
        "output": {"name": OUTPUT, "shape": ["batch", len(classifier.classes)], "type": "float32"},
        "preprocessing": origin.pop("preprocessing"),
        **origin,
        "versions": versions(),
        "files": {},
    }


def sample_images(classifier: Classifier) -> Tensor:
    """Noise and three photographs (of scikit-learn's package), ``[6, 3, H, W]``."""
    from sklearn.datasets import load_sample_images

    photos = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    photos.append(photos[0].transpose(Image.Transpose.ROTATE_90))
    real = torch.stack([classifier.prepare(photo) for photo in photos])
    return torch.cat([torch.randn(real.shape, generator=torch.Generator().manual_seed(0)), real])


def trace(program: Program, samples: Tensor) -> Any:
    """The exported program, with a free batch size."""
    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    with exporter_errors("a torch.export program"), torch.no_grad():
        return torch.export.export(program, (samples[:3],), dynamic_shapes={INPUT: {0: batch}}, strict=False)


def write_torch(exported: Any, path: Path) -> Scorer:
    """Save, load, and return what was loaded."""
    with exporter_errors("a torch.export program"):
        torch.export.save(exported, path)
        return torch.export.load(path).module()


def write_onnx(program: Program, exported: Any, samples: Tensor, path: Path, opset: int | None) -> Scorer:
    """Save as ONNX in one file, and return what onnxruntime makes of it."""
    names: dict[str, Any] = {"input_names": [INPUT], "output_names": [OUTPUT], "opset_version": opset}
    with exporter_errors("ONNX"), torch.no_grad():
        if "external_data" in inspect.signature(torch.onnx.export).parameters:
            torch.onnx.export(exported, (), str(path), dynamo=True, external_data=False, verbose=False, **names)
        else:  # before torch 2.5 the exporter that takes exported programs is a preview: the older one traces
            axes = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
            torch.onnx.export(program, (samples[:3],), str(path), dynamic_axes=axes, **names)
        return onnx_scorer(path)


def write_int8(source: Path, path: Path) -> Scorer:
    """Save an ONNX file with weights of 8 bits, and return what onnxruntime makes of it."""
    with exporter_errors("ONNX with weights of 8 bits"):
        quantize(source, path)
        return onnx_scorer(path)


def onnx_scorer(path: Path) -> Scorer:
    """Return what onnxruntime computes of an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])


@torch.no_grad()
def differences(scorer: Scorer, program: Program, samples: Tensor) -> Tensor:
    """Return how far each probability is from PyTorch's, at batches of 3 and of 1."""
    batches = [*samples.split(3), *samples.split(1)]
    return torch.cat([(scorer(batch) - program(batch)).abs().flatten() for batch in batches])


def compare(scorer: Scorer, program: Program, samples: Tensor, name: str, tolerance: float = TOLERANCE) -> float:
    """Return the largest difference in a probability. Raises ValueError if it is above the tolerance or NaN."""
    difference = float(differences(scorer, program, samples).max())
    if not difference <= tolerance:
        raise ValueError(
            f"{name} is not kept: its probabilities differ from PyTorch's by {difference:.2g}, more than {tolerance:g}"
        )
    return difference


def accuracy(scorer: Scorer, classifier: Classifier, check: Labelled) -> float:
    """Return the accuracy of an exported program in percent, on images that are read as the classifier reads them."""
    exported = copy.copy(classifier)
    exported.__dict__["probabilities"] = scorer
    predicted = exported.predict(check.paths, progress=True).argmax(dim=1)
    return 100 * (predicted == torch.tensor(check.labels)).double().mean().item()


def check_packages() -> None:
    """Raises ValueError naming what ONNX export needs and is not installed."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX export needs {', '.join(missing)}: pip install -r requirements.txt")


@contextlib.contextmanager
def exporter_errors(form: str) -> Iterator[None]:
    """Whatever torch's exporters raise, as one line; what they warn of does not concern the user."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:
        raise ValueError(f"torch {torch.__version__} cannot export this as {form}: {one_line(error)[:300]}") from error
    finally:
        logging.disable(logging.NOTSET)
