"""What befalls a user's files: each mishap is a function that makes it happen, for `bad_inputs`."""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import train
from reference.shared import toy

ROOT = Path(train.__file__).parent
METHOD = "MultiModalRepresentationLearner"
MODEL = f"{METHOD}/model-1.safetensors"


@dataclass(frozen=True)
class Place:
    """Where a bad input comes about: the test's own folder, the folder of the data sets, a run that is done."""

    folder: Path
    data: Path
    finished: Path


Stage = Callable[[Place], None]


def nothing(place: Place) -> None:
    """All is well with the files."""


class Payload:
    """What a hostile file would run when it is unpickled."""

    def __reduce__(self):
        return print, ("executed",)


def flip(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)


def better(path: Path) -> None:
    """A record with another accuracy, as an editor would leave it."""
    text = path.read_text()
    assert '"accuracy": ' in text
    path.write_text(text.replace('"accuracy": ', '"accuracy": 1', 1))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def archive_bomb(path: Path) -> None:
    torch.save({"state_dict": {"a": Payload()}, "models": Payload()}, path)


def pickle_bomb(path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload()))


def namespace(path: Path) -> None:
    torch.save({"args": argparse.Namespace(lr=0.1), "model": {"fc.weight": torch.zeros(2)}}, path)


def tensors(*names: str) -> Callable[[Path], None]:
    return lambda path: torch.save({"state_dict": {name: torch.zeros(2) for name in names}}, path)


def embedded_with_a_nan(path: Path) -> None:
    state = load_file(ROOT / "clip/embedded.safetensors")
    state["ln_final.weight"][3] = float("nan")
    save_file(state, path)


def gone(path: Path) -> None:
    path.unlink()


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    return change


def own_folders(*names: str, table: bytes = b"") -> Stage:
    """Class folders of four empty files each in the test's folder ``mine``, and a table ``t.csv`` if it has content."""

    def make(place: Place) -> None:
        for name in names:
            folder = place.folder / "mine" / name
            folder.mkdir(parents=True)
            for number in range(4):
                (folder / f"{number}.png").touch()
        if table:
            (place.folder / "mine/t.csv").write_bytes(table)

    return make


def pets(place: Place, *, second: str = "dog", count: int = 4) -> Path:
    """OxfordPets in small: classes of three plain images, from a split file."""
    folder = place.data / "oxford_pets"
    (folder / "images").mkdir(parents=True)
    items = []
    for label, name in enumerate(["cat", second, "cow", "pig"][:count]):
        for number in range(3):
            Image.new("RGB", (40, 40), (60 * label, 80, 80)).save(folder / "images" / f"{label}_{number}.jpg")
            items.append([f"{label}_{number}.jpg", label, name])
    split = {"train": items, "val": items, "test": items}
    (folder / "split_zhou_OxfordPets.json").write_text(json.dumps(split))
    return folder


def pet_images(damage: Callable[[Path], None], which: str = "2_1.jpg") -> Stage:
    return lambda place: damage(pets(place) / "images" / which)


def no_image(path: Path) -> None:
    path.write_bytes(b"no image")


def cut_image(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def case_of(name: str) -> Callable[[Path], None]:
    """Put a file of tests/data/cases in the place of an image."""
    return lambda path: path.write_bytes((ROOT / "tests/data/cases" / name).read_bytes()) and None


def textures_with_an_empty_class(place: Place) -> None:
    for name in ("banded", "dotted"):
        (place.data / "dtd/images" / name).mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (40, 40)).save(place.data / f"dtd/images/banded/{number}.jpg")


def weights(content: bytes | Callable[[Path], None]) -> Stage:
    """A file ``weights.pt`` that holds none."""

    def write(place: Place) -> None:
        path = place.folder / "weights.pt"
        path.write_bytes(content) if isinstance(content, bytes) else content(path)

    return write


def own_yaml(text: str) -> Stage:
    """A configuration ``mine.yaml``."""

    def write(place: Place) -> None:
        (place.folder / "mine.yaml").write_text(text)

    return write


def resnet(place: Place) -> None:
    tensors = toy.clip_weights(0, vision=(8, (1, 1, 1, 1)), patch=None, res=64, text=(64, 2), vocabulary=49408)
    save_file(tensors, place.folder / "resnet.safetensors")


def trained(damage: Callable[[Path], None] | None = None, name: str = MODEL) -> Stage:
    """A finished run in ``{tmp}/trained``, of which a file is damaged."""

    def copy(place: Place) -> None:
        shutil.copytree(place.finished, place.folder / "trained")
        if damage:
            damage(place.folder / "trained" / name)

    return copy


def other_weights(place: Place) -> None:
    """One flipped bit in the weights file is another file."""
    trained()(place)
    path = shutil.copy(ROOT / "clip/embedded.safetensors", place.folder / "weights.safetensors")
    flip(Path(path))


def another_run(place: Place) -> None:
    shutil.copytree(place.finished, place.folder / "run")
