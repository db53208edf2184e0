"""Pre-train the embedded CLIP on rendered characters and symbols.

    OMP_WAIT_POLICY=passive python tools/pretrain_embedded.py --out clip/embedded.safetensors

Three stages: the image tower with a linear head; the text tower towards the image features' class means; both
together, contrastively. All three from scratch at once barely moves. No image of a data set is trained on.
Cost: 12 minutes on 2 shared cores. Zero-shot on the 1,797 real digits with seed 1: 61.3% of ten, 76.9% zero to four,
73.7% five to nine; docs/embedded-clip.md says more..

Shapes: B images, C classes, P concepts (a class, or several under one name), d joint width.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clip.clip import tokenize
from clip.model import CLIP
from common import commandline
from tools.render import CLASSES, GLYPHS, Pool, build_pool

WIDTH, LAYERS, EMBED_DIM, PATCH, CONTEXT = 128, 6, 128, 8, 77
SCALE = 100.0  # of cosines, as in CLIP after its training

# How a class is called, by group; "letter" stands for lower and upper case alike.
PHRASES = {
    "digit": "{n}|a {n}|the digit {n}|a digit {n}|the number {n}|number {n}|a handwritten {n}|{n} (written)",
    "letter": "the letter {n}|letter {n}|a letter {n}|a handwritten letter {n}|the character {n}",
    "lower": "the lowercase letter {n}|a small letter {n}|lowercase {n}|a lowercase {n}",
    "upper": "the capital letter {n}|an uppercase letter {n}|capital {n}|a capital {n}|uppercase {n}",
    "greek": "the greek letter {n}|a greek letter {n}|greek {n}|{n}|a {n}",
    "shape": "{n}|a {n}|the {n}|the shape {n}|a {n} shape",
    "symbol": "{n}|a {n}|the {n}|the symbol {n}|a {n} symbol",
    "icon": "{n}|a {n}|the {n}|a symbol of a {n}|an icon of a {n}",
    "chess": "a chess {n}|the chess piece {n}|a {n} in chess|{n}|a {n}",
    "arrow": "arrow|an arrow|the arrow|the symbol arrow",
}
_ADJECTIVES = (
    "bad good blurry clean dirty bright dark large small cropped pixelated cool nice weird noisy close-up "
    "low-resolution"
)
_MEDIA = "photo picture image drawing painting sketch rendering rendition print sculpture doodle tattoo cartoon"
_OTHERS = (
    "{}|{}.|a photo of {}|an image of {}|itap of {}.|a photo of many {}.|a photo of {}, a type of symbol.|this is {}.|"
    "a black and white photo of {}.|a jpeg corrupted photo of {}.|a photo of {} that is hard to see.|art of {}.|"
    "graffiti of {}.|an origami {}.|a plastic {}.|an embroidered {}.|{} in a video game.|a toy {}.|a stuffed {}.|"
    "a close-up photo of {}.|a low resolution photo of {}.|an inverted photo of {}.|white {} on black.|"
    "black {} on white."
)
TEMPLATES = (
    _OTHERS.split("|")
    + [f"a {adjective} photo of {{}}." for adjective in _ADJECTIVES.split()]
    + [f"a {medium} of {{}}." for medium in _MEDIA.split()]
)


@dataclass
class Steps:
    """How long each stage takes, in batches, and the images of a batch."""

    image: int = 1000
    text: int = 150
    joint: int = 250
    batch: int = 128


@dataclass
class Captions:
    """All ``texts`` of each concept, over a vocabulary of only the words ``ids [V']`` that occur.

    ``shows [C, P]`` says which concepts an image of each class shows, in shares that add up to one.
    """

    texts: list[list[str]]
    ids: Tensor
    shows: Tensor

    def sample(self) -> Tensor:
        """One caption of each concept, as positions among ``ids``: ``[P, 77]``."""
        counts = torch.tensor([len(texts) for texts in self.texts])
        chosen = (torch.rand(len(counts)) * counts).long().tolist()
        tokens = tokenize([texts[i] for texts, i in zip(self.texts, chosen, strict=True)])
        return torch.searchsorted(self.ids, tokens.long())


def concepts() -> dict[tuple[str, str], list[int]]:
    """(group, name) -> the classes that show it: each class itself, letters of either case, arrows of any direction."""
    found = {concept: [label] for label, concept in enumerate(CLASSES)}
    found |= {("letter", n): [CLASSES.index(("lower", n)), CLASSES.index(("upper", n))] for n in GLYPHS["lower"]}
    found["arrow", "arrow"] = [label for label, (_, name) in enumerate(CLASSES) if name.endswith("arrow")]
    return found


def phrases_of(group: str, name: str) -> list[str]:
    """What a concept is called; digits also as numerals."""
    names = [name, GLYPHS[group][name]] if group == "digit" else [name]
    return [phrase.format(n=n) for phrase, n in product(PHRASES[group].split("|"), names)]


def build_captions() -> Captions:
    """Every concept's phrases in every template, and the token ids of their words, rising, so that EOT stays last."""
    owners = concepts()
    phrases = [phrases_of(*concept) for concept in owners]
    texts = [[template.format(phrase) for template, phrase in product(TEMPLATES, some)] for some in phrases]
    # A bracket and the stop after it are one token; all other words and marks stand alone.
    around = [template.format(end) for template, end in product(TEMPLATES, ("x", "(x)"))]
    ids = tokenize(around + sum(phrases, [])).long().unique()
    shows = torch.zeros(len(CLASSES), len(owners))
    for column, labels in enumerate(owners.values()):
        shows[labels, column] = 1
    return Captions(texts, ids, shows / shows.sum(1, keepdim=True))


def new_model(words: int) -> CLIP:
    """A small CLIP over a vocabulary of ``words``, its scale fixed at 100."""
    heads = WIDTH // 64
    model = CLIP(EMBED_DIM, 32, LAYERS, WIDTH, PATCH, CONTEXT, words, WIDTH, heads, LAYERS)
    model.logit_scale.data.fill_(math.log(SCALE))
    model.logit_scale.requires_grad_(False)
    return model


class Stage:
    """Adam steps on one loss: linear warm-up, cosine to zero, gradients clipped, bfloat16 where it is fast."""

    def __init__(self, name: str, parameters: list[nn.Parameter], steps: int, lr: float):
        self.name, self.steps, self.started = name, steps, time.time()
        self.parameters = parameters
        self.optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.98), weight_decay=0.02)
        warm = max(1, steps // 20)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda i: min((i + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * i / max(1, steps)))
        )

    def update(self, step: int, loss: Tensor, accuracy: Tensor) -> None:
        """One step of the optimiser; a line of progress now and then."""
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        if step % 100 == 0 or step == self.steps - 1:
            minutes = (time.time() - self.started) / 60
            told = f"loss {loss.item():.3f} accuracy {accuracy.item():.1%} {minutes:.1f} min"
            print(f"{self.name} {step + 1}/{self.steps} {told}", flush=True)


def unit(encode: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Unit features ``[B, d]`` of images or ``[P, d]`` of texts by a tower of the model, in float32."""
    with torch.autocast("cpu", torch.bfloat16):
        features = encode(inputs)
    return F.normalize(features.float(), dim=1)


def train_images(model: CLIP, pool: Pool, steps: Steps) -> None:
    """Stage 1: the image tower classifies glyphs, ever harder ones, through a linear head that is then dropped."""
    head = nn.Linear(EMBED_DIM, len(CLASSES))
    stage = Stage("image", [*model.visual.parameters(), *head.parameters()], steps.image, 2e-3)
    for step in range(steps.image):
        images, labels = pool.sample(steps.batch, strength=min(1, 0.1 + 1.5 * step / steps.image))
        logits = head(unit(model.encode_image, images) * math.sqrt(EMBED_DIM))
        accuracy = (logits.argmax(1) == labels).float().mean()
        stage.update(step, F.cross_entropy(logits, labels, label_smoothing=0.05), accuracy)


@torch.no_grad()
def concept_means(model: CLIP, pool: Pool, captions: Captions, batches: int) -> Tensor:
    """The mean image feature of each concept ``[P, d]``, unit length."""
    sums = torch.zeros(len(CLASSES), EMBED_DIM)
    for _ in range(batches):
        images, labels = pool.sample(256)
        sums.index_add_(0, labels, unit(model.encode_image, images))
    return F.normalize(captions.shows.t() @ F.normalize(sums, dim=1), dim=1)


def train_texts(model: CLIP, pool: Pool, captions: Captions, steps: Steps) -> None:
    """Stage 2: every caption finds the mean image feature of its concept among all concepts'."""
    means = concept_means(model, pool, captions, batches=max(1, steps.text // 5))
    parameters = [p for n, p in model.named_parameters() if not n.startswith("visual.") and p.requires_grad]
    stage = Stage("text", parameters, steps.text, 1e-3)
    target = torch.arange(len(means))
    for step in range(steps.text):
        cosines = unit(model.encode_text, captions.sample()) @ means.t()
        loss = F.cross_entropy(SCALE / 4 * cosines, target) + (1 - cosines.diagonal()).mean()
        stage.update(step, loss, (cosines.argmax(1) == target).float().mean())


def contrastive_loss(logits: Tensor, shows: Tensor, smoothing: float = 0.1) -> Tensor:
    """Both directions of CLIP's loss where several images show a concept: ``[B, P]``, shares ``[B, P]``."""
    wanted = shows * (1 - smoothing) + smoothing / shows.shape[1]
    to_text = F.cross_entropy(logits, wanted)
    seen = shows[:, shows.sum(0) > 0].t()
    to_image = F.cross_entropy(logits.t()[shows.sum(0) > 0], seen / seen.sum(1, keepdim=True))
    return (to_text + to_image) / 2


def train_both(model: CLIP, pool: Pool, captions: Captions, steps: Steps) -> None:
    """Stage 3: both towers, images against one caption of every concept."""
    stage = Stage("joint", [p for p in model.parameters() if p.requires_grad], steps.joint, 5e-4)
    for step in range(steps.joint):
        images, labels = pool.sample(steps.batch)
        logits = SCALE * unit(model.encode_image, images) @ unit(model.encode_text, captions.sample()).t()
        shows = captions.shows[labels]
        accuracy = (shows.gather(1, logits.argmax(1, keepdim=True)) > 0).float().mean()
        stage.update(step, contrastive_loss(logits, shows), accuracy)


def pretrain(steps: Steps, seed: int) -> dict[str, Tensor]:
    """All three stages; the state dict to save, in half precision, with a compact vocabulary."""
    torch.manual_seed(seed)
    pool, captions = build_pool(), build_captions()
    model = new_model(len(captions.ids))
    print(f"{len(pool.labels)} glyphs, {len(CLASSES)} classes, {sum(map(len, captions.texts))} captions")
    train_images(model, pool, steps)
    train_texts(model, pool, captions, steps)
    train_both(model, pool, captions, steps)
    tensors = {key: value.detach().half() for key, value in model.state_dict().items()}
    tensors["token_embedding.rows"] = tensors.pop("token_embedding.weight")
    return tensors | {"token_embedding.ids": captions.ids}


def save(tensors: dict[str, Tensor], out: Path, seed: int) -> None:
    """Write the weights with a note of what they are."""
    about = {
        "description": "a small CLIP of rendered characters and symbols",
        "version": "1",
        "license": "MIT; rendered from matplotlib's fonts (DejaVu, STIX, Computer Modern), no data set",
        "tool": "tools/pretrain_embedded.py",
        "seed": str(seed),
    }
    save_file({key: value.contiguous() for key, value in tensors.items()}, out, metadata=about)


def main() -> None:
    parser = commandline.parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the safetensors file to write")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    started = time.time()
    save(pretrain(Steps(), args.seed), args.out, args.seed)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, {(time.time() - started) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
