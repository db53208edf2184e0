"""LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP (Huang et al., CVPR 2024).

A linear classifier on the unit image feature f, blended per class with the frozen text feature t_c:

    z_c = W_c f + b_c + alpha_c f t_c.

There is no temperature: alpha stands in its place. W starts from the sums of each class's training features, every
alpha from 250 times the mean of f t over them. Features are taken once, of one augmented view per training image; then
come ``TRAIN_EPOCH`` steps on all of them at once: SGD with momentum 0.9 on W and b at the constant rate

    4 N / lambda_max(F^T F),

and after every tenth step alpha -= N / (4 max_c sum_i (f_i t_c)^2) G. Learned is what does best on the validation
images; of equal steps the last. These steps take seconds, so a run does them in one go and has one epoch.

As in the authors' release where it differs from the paper: the paper's steps come from block coordinate
majorise-minimise, the release takes their constants as learning rates; G is the sum of alpha's gradients since the
start, not since its last step; there is a bias. Otherwise than there: the release works in CLIP's half precision on a
GPU, here all that is learned is float32; it validates on as many images per class as it trains on, here on those of the
run's few-shot draw, at most 4, for ImageNet on unused training images (there with crops); its ten tasks have the same
images on six data sets, here a seed has its own.

Classes that were all trained on keep their rows, in any order and number; a run on ImageNet-A or -R chooses among its
own 200 classes, the release's among 1000. Other classes are not defined there: zero-shot CLIP scores them. Where both
kinds are scored side by side, each class has its own of the two, whose scales differ.

Shapes: B images, N training images, C classes, d joint width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip.layers import no_autocast
from clip.model import CLIP
from dassl.engine import TRAINER_REGISTRY

from .shared.cosine import at_least_float32, l2_normalize
from .shared.features import (
    Features,
    FittedTrainer,
    features_of_batches,
    loader_of,
    row_of_each,
    rows_among,
    template_features,
    validation_images,
)
from .shared.method import Method
from .shared.templates import ensemble_of

ALPHA_FACTOR, ALPHA_EVERY, MOMENTUM = 250, 10, 0.9  # literals of the release


class Head(NamedTuple):
    """A linear classifier."""

    weight: Tensor  # [C, d]
    bias: Tensor  # [C]

    def __call__(self, f: Tensor) -> Tensor:
        """Return the scores ``[B, C]`` of unit features ``[B, d]``."""
        with no_autocast(f):
            return F.linear(f, self.weight, self.bias)


class LPppModel(Method):
    """The tensors ``classifier.weight`` ``[C, d]``, ``classifier.bias`` ``[C]`` and ``alpha_vec`` ``[1, C]``.

    Args:
        clip_model: frozen CLIP.
        classnames: C names.
        text: unit class features ``[C, d]``.
    """

    def __init__(self, clip_model: CLIP, classnames: Sequence[str], text: Tensor):
        super().__init__(clip_model)
        self.classnames, self.text = list(classnames), text
        self.trained = self.classnames
        # Of the learned tensors, by class, -1: it has none; []: none of them has one.
        self.rows: list[int] | slice = slice(None)
        self.classifier = nn.Linear(text.shape[1], len(classnames))
        self.alpha_vec = nn.Parameter(torch.ones(1, len(classnames)))

    def class_features(self) -> Head:
        """Return the blend as one classifier; that of zero-shot CLIP for classes that have none."""
        if self.rows == []:
            return self._zero_shot()
        w, b, alpha = (part[self.rows] for part in (self.classifier.weight, self.classifier.bias, self.alpha_vec[0]))
        learned = Head(w + alpha[:, None] * self.text, b)
        if isinstance(self.rows, slice) or min(self.rows) >= 0:
            return learned
        other, rest = torch.tensor(self.rows, device=w.device) < 0, self._zero_shot()
        return Head(torch.where(other[:, None], rest.weight, learned.weight), torch.where(other, rest.bias, b))

    def _zero_shot(self) -> Head:
        scale = at_least_float32(self.clip_model.logit_scale.exp())
        return Head(scale * self.text, self.text.new_zeros(len(self.text)))

    def use_all_classes(self) -> None:
        """Score each class that was trained on by the blend, others by zero-shot CLIP."""
        self.rows = row_of_each(self.classnames, self.trained)

    def scores(self, images: Tensor, class_features: Head) -> Tensor:
        """Return z ``[B, C]``."""
        return class_features(self.image_features(images))

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Take on the number of a checkpoint's classes, and find those to score among them."""
        self.trained = self.classnames if classnames is None else list(classnames)
        self.rows = rows_among(self.classnames, self.trained)
        for name, value in self.named_parameters():
            if name in tensors:
                value.data = value.new_zeros(tensors[name].shape)

    @torch.no_grad()
    def start(self, train: Features) -> None:
        """Set W and alpha to their initial values, for unit features."""
        self.classifier.weight.zero_().index_add_(0, train.labels, train.values)
        counts = train.labels.bincount(minlength=len(self.text))
        own = (self.classifier.weight * self.text).sum(dim=1)[counts > 0] / counts[counts > 0]
        self.alpha_vec.fill_(ALPHA_FACTOR * own.mean())


def learning_rates(train: Features, text: Tensor) -> tuple[float, float]:
    """Return the rates of W and b, and of alpha, for unit features ``[N, d]`` and class features ``[C, d]``."""
    f, count = train.values.double().cpu(), len(train.labels)
    most = torch.linalg.eigvalsh(f.t() @ f)[-1]
    of_text = (f @ text.double().cpu().t()).square().sum(dim=0).max()
    return 4 * count / most.item(), count / (4 * of_text.item())


def steps(model: LPppModel, train: Features, count: int) -> Iterator[Tensor]:
    """Do ``count`` steps on all unit features at once; yields each one's loss once it is done, gradients at hand."""
    of_classifier, of_alpha = learning_rates(train, model.text)
    optimizer = torch.optim.SGD(model.classifier.parameters(), lr=of_classifier, momentum=MOMENTUM)
    model.alpha_vec.grad = None
    for step in range(1, count + 1):
        optimizer.zero_grad()  # not alpha's, which add up
        with torch.enable_grad():
            loss = F.cross_entropy(model.class_features()(train.values), train.labels)
            loss.backward()
        optimizer.step()
        if step % ALPHA_EVERY == 0:
            model.alpha_vec.data.sub_(model.alpha_vec.grad, alpha=of_alpha)  # type: ignore[arg-type]
        yield loss.detach()


def accuracy_of(model: LPppModel, features: Features) -> float:
    """Return the accuracy in percent on unit features."""
    return 100 * (model.class_features()(features.values).argmax(dim=1) == features.labels).double().mean().item()


@TRAINER_REGISTRY.register()
class LinearProbe_P2(FittedTrainer):
    """Trainer of LP++, under its official name; the other is ``LPpp``."""

    registered_name = "linear_probe_p2"
    on_frozen_features = True

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> LPppModel:
        """Return the model over these classes; the text features of ImageNet are those of seven templates."""
        return LPppModel(clip_model, classnames, template_features(clip_model, classnames, ensemble_of(cfg)))

    def fit(self) -> None:
        """Learn, and keep the step that does best on the validation images, or the last one."""
        model, dataset, val = self.model, self.dm.dataset, None
        train = self._features(loader_of(self.cfg, dataset.train_x, self.dm.train_loader_x))
        if self.settings.selection == "val":
            images = validation_images(self.cfg, dataset, few=True)
            val = self._features(loader_of(self.cfg, images, self.dm.test_loader))
        model.start(train)
        best, kept, chosen = -1.0, {}, ""
        for step, loss in enumerate(steps(model, train, self.settings.train_epoch), start=1):
            accuracy = 0.0 if val is None else accuracy_of(model, val)
            if accuracy >= best:
                best, kept = accuracy, {name: value.clone() for name, value in model.state_dict().items()}
                chosen = f"step {step}, loss before it {loss:.4f}"
        model.load_state_dict(kept)
        print(f"Kept: {chosen}" + ("" if val is None else f", validation accuracy {best:.2f}%"))

    def _features(self, batches: Any) -> Features:
        found = features_of_batches(self.model.clip_model, batches)
        return Features(l2_normalize(found.values), found.labels)
