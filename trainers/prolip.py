"""ProLIP: CLIP's Visual Embedding Projector is a Few-shot Cornucopia (Fahes et al., arXiv 2410.05270).

The last matrix of the image tower, its projection W into the joint space, is all that learns: z = 100 f T with
f = x W / |x W|, x being what the frozen tower gives before the projection. The loss is the mean cross-entropy and
lambda |W - W_0|^2, the sum of squares to where W starts, CLIP's own. T are frozen text features. For a ResNet W is the
weight of the attention pool's ``c_proj``; its bias stays.

Facts of the authors' release: the scale is the literal 100; ImageNet and its variants have seven templates; Adam has
eps 1e-4 and a cosine per step; a step takes all training images at once, each epoch one augmented view of them, and
W after the last step is tested. lambda is 1/N for N shots (``LAMBDA_FUNCT_1_N``), or else 1/N^2 or ``LAMBDA_V``.

The release stores 300 views of each image first, and takes view k + 1 (modulo 300) in epoch k. Here an epoch draws its
views anew, which is the same in distribution; FEATURES.ONCE with VIEWS 300 stores them and keeps that order.
``SEARCH_LR`` chooses learning rate and lambda from a grid by training with each pair on these stored views; the
images it chooses on are the run's few-shot validation images, of which the release has N per class, here at most 4.

On a GPU the release keeps W, its gradient and Adam's moments in half precision. The squares of small gradients are then
zero, and where they are, Adam's step is lr m / eps: another optimiser than in float32. ``HALF_UPDATES`` does that too
(products are still float32), as published numbers of small learning rates need it; by default all is float32.

Shapes: B images, N images of the training set, V views, C classes, d_v width before the projection, d joint width.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from clip.archives import UNREADABLE, read_saved
from clip.layers import no_autocast
from clip.model import CLIP, VisionTransformer
from clip.resnet import ModifiedResNet
from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_lr_scheduler, build_optimizer

from .shared import checkpoints
from .shared.base import CLIPTrainer
from .shared.cached_features import FeatureSet
from .shared.cosine import at_least_float32, frozen_features, l2_normalize, release_scale
from .shared.deep_prompts import register_parameter_at
from .shared.features import Features, features_of_batches, loader_of, template_features, validation_images
from .shared.method import Method
from .shared.templates import IMAGENET_ENSEMBLE, template_of

ADAM_EPS = 1e-4
RATES = tuple(10.0**-power for power in range(2, 9))
PENALTIES = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001, 0.0)


class ProLIPModel(Method):
    """W, under the release's names: ``vit_proj`` ``[d_v, d]`` of a ViT, ``linear.weight`` ``[d, d_v]`` elsewhere.

    Args:
        clip_model: frozen CLIP, whose projection W starts from.
        text: T, unit class features ``[C, d]``.
        penalty: lambda.
        half: whether W, and so its gradient and the optimiser's state, are in half precision.
    """

    changes_image_feature = True

    def __init__(self, clip_model: CLIP, text: Tensor, penalty: float, half: bool = False):
        super().__init__(clip_model)
        self.text, self.penalty, self.bias = text, penalty, None
        self.scale = release_scale(clip_model)
        linear = last_map(clip_model.visual)
        self.is_linear = linear is not None
        self.name = "vit_proj" if linear is None else "linear.weight"
        start = clip_model.visual.proj if linear is None else linear.weight
        self.start = at_least_float32(start.detach())
        if linear is not None and linear.bias is not None:
            self.bias = at_least_float32(linear.bias.detach())
        register_parameter_at(self, self.name, start.detach().half() if half else self.start.clone())

    @property
    def matrix(self) -> Tensor:
        """Return W, at least in float32."""
        return at_least_float32(self.get_parameter(self.name))

    def go_to_start(self) -> None:
        """Set W to CLIP's own."""
        self.get_parameter(self.name).data.copy_(self.start)

    def project(self, images: Tensor) -> Tensor:
        """Return x W ``[B, d]``, not normalised, of images, or of x ``[B, d_v]``."""
        x = frozen_features(self.clip_model, images, projected=False)
        with no_autocast(x):
            return F.linear(x, self.matrix, self.bias) if self.is_linear else x @ self.matrix

    def image_features(self, images: Tensor) -> Tensor:
        """Return f ``[B, d]``, of unit length."""
        return l2_normalize(self.project(images))

    def class_features(self) -> Tensor:
        """Return T ``[C, d]``."""
        return self.text

    def scores(self, images: Tensor, class_features: Tensor) -> Tensor:
        """Return z ``[B, C]``; divided by the norm last, which passes over fewer values than f has."""
        y = self.project(images)
        with no_autocast(y):
            return y @ class_features.t() * (self.scale / y.norm(dim=-1, keepdim=True))

    def distance(self) -> Tensor:
        """Return |W - W_0|^2."""
        return F.mse_loss(self.matrix, self.start, reduction="sum")

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy and lambda |W - W_0|^2, and the scores ``[B, C]``."""
        scores = self.scores(images, self.text)
        return F.cross_entropy(scores, labels) + self.penalty * self.distance(), scores

    def ignores_checkpoint_key(self, key: str) -> bool:
        """Return whether it is the release's copy of a ResNet's frozen bias."""
        return self.is_linear and key == "linear.bias"


def last_map(visual: Any) -> nn.Linear | None:
    """Return the linear layer that an image tower ends in; None for CLIP's ViT, which has a bare matrix.

    Raises ValueError for a tower that ends in something else.
    """
    if isinstance(visual, VisionTransformer):
        return None
    if isinstance(visual, ModifiedResNet):
        return visual.attnpool.c_proj
    if visual.projection is None:
        raise ValueError(
            "ProLIP learns the linear map that an image tower ends in, and this backbone's ends in something else: "
            "take another method"
        )
    return visual.projection


def optimizer_of(model: ProLIPModel, optim_cfg: Any) -> tuple[torch.optim.Optimizer, LRScheduler]:
    """Return the optimiser of an OPTIM node, with the release's eps, and its schedule."""
    optim = build_optimizer(model, optim_cfg)
    for group in optim.param_groups:
        group["eps"] = ADAM_EPS
    return optim, build_lr_scheduler(optim, optim_cfg)


def at_rate(optim_cfg: Any, rate: float) -> Any:
    """Return a copy of an OPTIM node with another learning rate."""
    node = optim_cfg.clone()
    node.defrost()
    node.LR = rate
    return node


def learn(model: ProLIPModel, views: Tensor, labels: Tensor, optim_cfg: Any) -> Iterator[float]:
    """Train from W_0 as a run on stored views ``[V, N, d_v]`` does; yields each step's learning rate, before the step.

    ``labels`` are ``[N]``; OPTIM.MAX_EPOCH is the number of steps.
    """
    model.go_to_start()
    optim, schedule = optimizer_of(model, optim_cfg)
    for step in range(optim_cfg.MAX_EPOCH):
        yield optim.param_groups[0]["lr"]
        loss, _ = model.loss(views[(step + 1) % len(views)], labels)
        optim.zero_grad()
        loss.backward()
        optim.step()
        schedule.step()


def search(model: ProLIPModel, views: Tensor, labels: Tensor, val: Features, optim_cfg: Any) -> tuple[Tensor, int]:
    """Train with each learning rate of RATES and lambda of PENALTIES; return accuracies, and the place of the best.

    ``views`` and ``labels`` are as in ``learn``. Accuracies on ``val`` ``[rates, penalties]`` are in percent; of equals
    the first counts, lambda varying faster. Sets lambda to the best, and W to W_0.
    """
    found = []
    for rate, model.penalty in itertools.product(RATES, PENALTIES):
        for _ in learn(model, views, labels, at_rate(optim_cfg, rate)):
            pass
        with torch.no_grad():
            right = model.scores(val.values, model.text).argmax(dim=1) == val.labels
        found.append(100 * right.float().mean().item())
    model.go_to_start()
    best = found.index(max(found))
    model.penalty = PENALTIES[best % len(PENALTIES)]
    return torch.tensor(found).view(len(RATES), len(PENALTIES)), best


class OneBatch:
    """A loader of a single batch, made anew whenever it is read."""

    def __init__(self, make: Callable[[], dict[str, Any]]):
        self.make = make

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield self.make()


@TRAINER_REGISTRY.register()
class ProLIP(CLIPTrainer):
    """Trainer of ProLIP: an epoch is one view of all training images, and one step.

    What a search has chosen lies in the optimiser's state, where a resumed run finds it again.
    """

    registered_name = "prolip"
    on_frozen_features = True
    features_projected = False

    def check_cfg(self, cfg: Any) -> None:
        """Raise ValueError naming the key whose value is not allowed."""
        super().check_cfg(cfg)
        if self.settings_of(cfg).search_lr and not cfg.FEATURES.ONCE:
            raise ValueError("TRAINER.PROLIP.SEARCH_LR trains often on the same views: add FEATURES.ONCE True")

    @classmethod
    def build_method(cls, cfg: Any, clip_model: CLIP, classnames: list[str]) -> ProLIPModel:
        """Return CLIP's projection beside these classes' features; ImageNet's are those of seven templates."""
        settings = cls.settings_of(cfg)
        ensemble = cfg.DATASET.NAME.startswith("ImageNet") and not cfg.DATASET.TEMPLATE
        text = template_features(clip_model, classnames, IMAGENET_ENSEMBLE if ensemble else [template_of(cfg)])
        return ProLIPModel(clip_model, text, settings.penalty(max(1, cfg.DATASET.NUM_SHOTS)), settings.half_updates)

    def build_model(self) -> None:
        """Build the model; take all training images in one batch. Without shots lambda is that of the mean class."""
        super().build_model()
        items = self.dm.dataset.train_x
        self.images = loader_of(self.cfg, items, self.dm.train_loader_x, cached=True)
        self.train_loader_x = OneBatch(self.whole_set)  # type: ignore[assignment]
        if self.cfg.DATASET.NUM_SHOTS < 1:
            self.model.penalty = self.settings.penalty(len(items) / self.num_classes)

    def whole_set(self) -> dict[str, Any]:
        """Return a batch of all training images, x ``[N, d_v]`` of this epoch's view in the place of pixels."""
        images: Any = self.images.dataset
        if isinstance(images, FeatureSet):
            view = (self.epoch + 1) % images.features.shape[1]
            found = Features(images.features[:, view], images.labels)
        else:
            with self.autocast():
                found = features_of_batches(self.model.clip_model, self.images, projected=False)
        return {"img": found.values, "label": found.labels, "impath": [item.impath for item in images.data_source]}

    def build_optim(self) -> None:
        """Set the optimiser, with the release's eps, and the schedule."""
        self.optim, self.sched = optimizer_of(self.model, self.cfg.OPTIM)

    def before_train(self) -> None:
        """Resume; search, if asked for and nothing was resumed."""
        super().before_train()
        new = "penalty" not in self.optim.param_groups[0] and self.start_epoch < self.max_epoch
        if self.settings.search_lr and new:
            optim, schedule = optimizer_of(self.model, at_rate(self.cfg.OPTIM, self._search()))
            self.optim.load_state_dict(optim.state_dict())
            self.sched.load_state_dict(schedule.state_dict())
            self.optim.param_groups[0]["penalty"] = self.model.penalty
        self.model.penalty = self.optim.param_groups[0].get("penalty", self.model.penalty)

    def _search(self) -> float:
        """Set lambda to the best on validation images; return the best learning rate."""
        train: Any = self.images.dataset
        items = validation_images(self.cfg, self.dm.dataset, few=True)
        loader = loader_of(self.cfg, items, self.dm.test_loader)
        val = features_of_batches(self.model.clip_model, loader, projected=False)
        views = train.features.transpose(0, 1).to(self.device)
        accuracies, best = search(self.model, views, train.labels.to(self.device), val, self.cfg.OPTIM)
        rate = RATES[best // len(PENALTIES)]
        where = f"accuracy {accuracies.max():.2f}% where chosen"
        print(f"Search: learning rate {rate:g}, lambda {self.model.penalty:g}, {where}")
        return rate

    def load_model(self, directory: str, epoch: int | None = None) -> None:
        """Load a run's folder, or a folder of the release, which has one file ``DATASET_seedN.pth`` for each seed.

        Raises as the base does, and ValueError for such a file that is damaged or does not fit the run.
        """
        released = list(Path(directory).glob(f"*_seed{self.cfg.SEED}.pth"))
        if len(released) != 1:
            super().load_model(directory, epoch)
            return
        checkpoints.load_learned(self.model, read_state_dict(released[0]), released[0])
        print(f"Load {released[0]}")


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """Read a file that holds tensors by name, and nothing else. Raises ValueError naming it."""
    try:
        found = read_saved(path)
    except UNREADABLE as error:
        raise ValueError(f"cannot load {path}: damaged, or no tensors") from error
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise ValueError(f"cannot load {path}: it holds no tensors by name")
    return found
