"""Bad input: one line that names it, a non-zero exit, and nothing lost. In this process, since torch is loaded once."""

from __future__ import annotations

import json
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import train
from runs import files, record

ROOT = Path(train.__file__).parent
CONFIGS = ROOT / "configs"


class User:
    """One user's folders, and train.py called in them."""

    def __init__(self, data: Path, run: Path, monkeypatch, capsys) -> None:
        self.data, self.run = data, run
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def words(self, *options: str, dataset: str = "digits", method: str = "MMRL") -> list[str]:
        named = {
            "--root": self.data,
            "--output-dir": self.run,
            "--seed": 1,
            "--trainer": method,
            "--dataset-config-file": CONFIGS / f"datasets/{dataset}.yaml",
            "--config-file": CONFIGS / f"trainers/{method}/embedded.yaml",
        }
        first = [word for pair in named.items() for word in map(str, pair)]
        return [*first, *options]

    def train(self, *options: str, **names: str) -> tuple[int, str]:
        """Exit status and what stands on stderr."""
        with self.monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["train.py", *self.words(*options, **names)])
            patch.setattr(sys, "stdout", sys.stdout)  # undone at the end: the run's log takes these over
            patch.setattr(sys, "stderr", sys.stderr)
            status = train.main()
        return status, self.capsys.readouterr().err

    def error(self, *options: str, **names: str) -> str:
        """The one line of a call that must fail."""
        status, err = self.train(*options, **names)
        assert status == 1 and err.startswith("error: ") and err.count("\n") == 1, err
        return err[len("error: ") : -1]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def user(tmp_path, data, monkeypatch, capsys) -> User:
    return User(data, tmp_path / "run", monkeypatch, capsys)


@pytest.fixture
def pets(user, tmp_path) -> Path:
    """OxfordPets in small: four classes of three grey images, from a split file."""
    user.data = tmp_path / "data"
    folder = user.data / "oxford_pets"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    items = []
    for label, name in enumerate(["cat", "dog", "cow", "pig"]):
        for number in range(3):
            Image.new("RGB", (40, 40), (60 * label, 80, 80)).save(folder / "images" / f"{name}_{number}.jpg")
            items.append([f"{name}_{number}.jpg", label, name])
    write_split(folder, items)
    return folder


def write_split(folder: Path, items: list) -> None:
    split = {"train": items, "val": items, "test": items}
    (folder / "split_zhou_OxfordPets.json").write_text(json.dumps(split))


def rename(folder: Path, old: str, new: str) -> None:
    path = folder / "split_zhou_OxfordPets.json"
    items = json.loads(path.read_text())["train"]
    write_split(folder, [[image, label, new if name == old else name] for image, label, name in items])


QUICK = ["OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "2"]


def test_a_missing_root(user, tmp_path):
    user.data = tmp_path / "nowhere"
    assert str(user.data) in user.error()
    # Mended (the root is no part of what a run is), the same run goes on.
    user.data.mkdir()
    assert user.train(*QUICK)[0] == 0


EVALUATE = ["--eval-only", "--model-dir"]
# The options of a run, and the line that they come to; {tmp} is the test's folder, {root} the project's.
LINES = [
    (
        ["MODEL.BACKBONE.NAME", "ViT-B/61"],
        "'ViT-B/61' is neither a CLIP model nor a weights file; did you mean 'ViT-B/16'? Models: RN50, RN101, RN50x4, "
        "RN50x16, RN50x64, ViT-B/32, ViT-B/16, ViT-L/14, ViT-L/14@336px, embedded, or open_clip:ARCH/PRETRAINED",
    ),
    ([*EVALUATE, "{tmp}/none"], "--model-dir: there is no folder {tmp}/none"),
    (["--resume", "{tmp}/none"], "--resume: there is no folder {tmp}/none"),
    (["--eval-only"], "--eval-only needs --model-dir: MMRL has something to learn"),
    (
        [*EVALUATE, "{tmp}"],
        "no checkpoint at {tmp}/MultiModalRepresentationLearner: train first, or give --model-dir and --load-epoch of "
        "a run (the folder has none)",
    ),
    (
        ["TRAINER.MMRL.REP_LAYERS", "[]"],
        "TRAINER.MMRL.REP_LAYERS is empty: give the layers J to L, such as [6, 7, 8, 9, 10, 11, 12]",
    ),
    (
        ["TRAINER.MMRL.REP_LAYERS", "[7, 8]"],
        "TRAINER.MMRL.REP_LAYERS starts at layer 7, but the image tower has layers 1 to 6",
    ),
    (["TRAINER.MMRL.N_REP_TOKENS", "0"], "TRAINER.MMRL.N_REP_TOKENS must be at least 1, not 0"),
    (["TRAINER.MMRL.FUSION", "both"], "TRAINER.MMRL.FUSION must be probs or logits, not 'both'"),
    (["TRAINER.MMRL.PREC", "fp8"], "TRAINER.MMRL.PREC is 'fp8': choose one of fp32, fp16, amp, bf16"),
    (
        ["INPUT.SIZE", "(40, 40)"],
        'embedded was trained on other images than INPUT describes: add INPUT.SIZE "(32, 32)"',
    ),
    (
        ["OPTIM.LRR", "1"],
        "command line: unknown key OPTIM.LRR; did you mean OPTIM.LR or OPTIM.STAGED_LR or OPTIM.LR_SCHEDULER?",
    ),
    (["OPTIM.LR", "fast"], "command line: OPTIM.LR must be float, such as 0.001, not 'fast'"),
    (["OPTIM.LR"], "options come as KEY VALUE pairs, and OPTIM.LR has no value"),
    (["OPTIM.LR", "1", "--seed", "2"], "--seed stands after KEY VALUE options: put it before them"),
    (["TASK", "X"], "TASK must be one of B2N, CD, FS, not 'X'"),
    (["DATASET.SUBSAMPLE_CLASSES", "old"], "DATASET.SUBSAMPLE_CLASSES must be one of all, base, new, not 'old'"),
    (
        ["DATALOADER.CACHE_GB", "-1"],
        "DATALOADER.CACHE_GB is -1.0; give 0 (no cache) or the GB to use at most",
    ),
]


@pytest.mark.parametrize(("options", "line"), LINES, ids=[" ".join(options) for options, _ in LINES])
def test_the_line_of_each_bad_option(user, tmp_path, options, line):
    assert user.error(*(word.format(tmp=tmp_path) for word in options)) == line.format(tmp=tmp_path)


def test_a_dataset_that_does_not_exist(user):
    line = f"no configuration file {CONFIGS}/datasets/digit.yaml; did you mean digits.yaml"
    assert user.error(dataset="digit").startswith(line)
    assert not user.run.exists()  # refused before anything is written


class Payload:
    """What a hostile file would run when it is unpickled."""

    def __reduce__(self):
        return print, ("executed",)


def bomb(path: Path, kind: str) -> None:
    if kind == "archive":
        torch.save({"state_dict": {"a": Payload()}, "models": Payload()}, path)
    else:
        path.write_bytes(pickle.dumps(Payload()))


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut off", "archive", "pickle"])
def test_weights_that_are_none(user, tmp_path, content):
    path = tmp_path / "weights.pt"
    path.write_bytes(content) if isinstance(content, bytes) else bomb(path, content)
    assert re.match(
        rf"{path} cannot be read as a (state dict saved by torch|weights file): it is damaged, incomplete or holds "
        "more than tensors ",
        user.error("MODEL.BACKBONE.NAME", str(path)),
    )
    assert "executed" not in (user.run / "log.txt").read_text()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", sys.stdout)
        patch.setattr(sys, "stderr", sys.stderr)
        patch.setattr(sys, "argv", ["train.py", *User(data, folder, None, None).words(*QUICK)])
        assert train.main() == 0
    return folder


def flip(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def rewrite(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


MODEL = "MultiModalRepresentationLearner/model-1.safetensors"
# What befalls a finished run that is then tested, more options, and the line that it comes to; {run} is its folder.
DAMAGE = [
    (MODEL, flip, [], "cannot load checkpoint {run}/{model}: damaged (its checksum does not fit)"),
    (MODEL, cut, [], "cannot load checkpoint {run}/{model}: damaged, or not a checkpoint"),
    (
        MODEL,
        lambda path: bomb(path, "archive"),
        [],
        "cannot load checkpoint {run}/{model}: damaged, or not a checkpoint",
    ),
    (
        MODEL,
        lambda path: bomb(path, "pickle"),
        [],
        "cannot load checkpoint {run}/{model}: damaged, or not a checkpoint",
    ),
    (
        MODEL,
        lambda path: None,
        ["--load-epoch", "9"],
        "no checkpoint at {run}/MultiModalRepresentationLearner/model-9.safetensors: train first, or give "
        "--model-dir and --load-epoch of a run (the folder has model-1.safetensors)",
    ),
    ("record.json", lambda path: flip(path, 0.9), [], "{run}/record.json is damaged (its checksum does not fit)"),
    (
        "config.yaml",
        lambda path: rewrite(path, "ALPHA: 0.7", "ALPHA: 0.5"),
        [],
        "{run}/config.yaml is not what its run wrote: it is damaged, edited or gone; put the old file back, or train "
        "again",
    ),
    (
        MODEL,
        lambda path: None,
        ["TRAINER.MMRL.N_REP_TOKENS", "4"],
        "{run}/{model} does not fit this run: TRAINER.MMRL.N_REP_TOKENS is 5 there, 4 here",
    ),
    (
        MODEL,
        lambda path: None,
        ["TRAINER.MMRL.REP_DIM", "64"],
        "{run}/{model} does not fit this run: TRAINER.MMRL.REP_DIM is 512 there, 64 here",
    ),
    (
        MODEL,
        lambda path: None,
        ["TRAINER.MMRL.REP_LAYERS", "[4, 5, 6]"],
        "{run}/{model} does not fit this run: TRAINER.MMRL.REP_LAYERS is [3, 4, 5, 6] there, [4, 5, 6] here",
    ),
]


@pytest.mark.parametrize(("name", "damage", "options", "line"), DAMAGE)
def test_the_line_of_each_damage_to_a_run_that_is_tested(user, finished, tmp_path, name, damage, options, line):
    run = tmp_path / "trained"
    shutil.copytree(finished, run)
    damage(run / name)
    assert user.error(*EVALUATE, str(run), *options) == line.format(run=run, model=MODEL)
    log = user.run / "log.txt"
    assert not log.exists() or "executed" not in log.read_text()


def test_a_model_belongs_to_the_weights_it_was_learned_on(user, finished, tmp_path):
    """One flipped bit in the weights file is another file."""
    path = tmp_path / "weights.safetensors"
    shutil.copy(ROOT / "clip/embedded.safetensors", path)
    flip(path)
    line = user.error(*EVALUATE, str(finished), "MODEL.BACKBONE.NAME", str(path))
    assert re.fullmatch(
        rf"{finished}/{MODEL} does not fit this run: backbone is embedded .* there, {path} .* here", line
    )


def test_a_method_that_learns_nothing_needs_no_checkpoint(user, tmp_path):
    assert user.train("--output-dir", str(tmp_path / "zero"), "--eval-only", method="ZeroshotCLIP")[0] == 0


def test_a_class_name_of_80_tokens(user, pets):
    rename(pets, "dog", " ".join(["dog"] * 80))
    assert "dog dog dog" in user.error(*QUICK, dataset="oxford_pets")


def test_images_that_are_missing_or_no_images(user, pets):
    (pets / "images/cow_1.jpg").write_bytes(b"no image")
    assert "cow_1.jpg" in user.error(*QUICK, dataset="oxford_pets")
    (pets / "images/cow_1.jpg").unlink()
    assert "cow_1.jpg" in user.error(*QUICK, dataset="oxford_pets")


def test_an_unreadable_image_is_named_from_a_loader_worker_too(user, pets):
    (pets / "images/cow_1.jpg").write_bytes(b"no image")
    line = user.error(*QUICK, "DATALOADER.NUM_WORKERS", "1", dataset="oxford_pets")
    assert "cow_1.jpg" in line and "Traceback" not in line
    assert "Traceback" in (user.run / "log.txt").read_text()


def test_a_loss_that_is_not_finite(user):
    """The warm-up epoch is sound and saved; the next one's learning rate breaks the loss."""
    options = ["DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "3", "OPTIM.LR", "1e30"]
    line = user.error(*options)
    assert "epoch 2" in line and "batch" in line
    content = record.read(user.run)
    assert (content["status"], content["error"]) == ("failed", line)
    saved = torch.load(user.run / "resume.pth.tar", weights_only=True)
    assert saved["epoch"] == 1
    assert "holds a run of another configuration: OPTIM.LR: 1e+30 -> 0.001" in user.error(*options, "OPTIM.LR", "0.001")

    path = user.run / "resume.pth.tar"
    damaged = f"cannot load checkpoint {path}: damaged, or not a checkpoint"
    whole = path.read_bytes()
    for damage in (flip, cut, lambda path: bomb(path, "archive"), lambda path: bomb(path, "pickle")):
        path.write_bytes(whole)
        damage(path)
        line = user.error(*options)
        assert line.startswith(damaged) and line.endswith("; remove it to train from scratch")
    assert "executed" not in (user.run / "log.txt").read_text()


HOLD = """
import sys, time
from pathlib import Path
from runs.files import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(files.fcntl is None, reason="no fcntl here")
def test_a_run_that_another_process_is_running(user):
    user.run.mkdir()
    words = [sys.executable, "-c", HOLD, str(user.run / record.LOCK)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        assert f"is being run by another process (process {holder.pid} on" in user.error()
        holder.kill()
    assert not (user.run / "log.txt").exists()


def test_a_fault_of_the_program_shows_its_traceback_and_is_on_record(user, monkeypatch):
    def broken(*_):
        raise TypeError("a bug")

    monkeypatch.setattr(train, "execute", broken)
    with pytest.raises(TypeError, match="a bug"):
        user.train()
    assert record.read(user.run)["error"] == "a bug"
    assert "in broken" in (user.run / "log.txt").read_text()


def test_an_interrupted_run_stays_unfinished(user, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "execute", interrupted)
    status, err = user.train()
    assert status == 130 and "the same command goes on" in err
    assert record.read(user.run)["status"] == "running"


def test_no_train_builds_and_leaves_no_record(user):
    assert user.train("--no-train")[0] == 0
    assert record.read(user.run) is None and not list(user.run.rglob("model*"))
