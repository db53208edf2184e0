"""What every method is: learned tensors around a frozen CLIP, a loss, and scores.

Shapes: B images, C classes, d joint width.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from clip.model import CLIP

from .cosine import at_least_float32, clip_image_features, cosine_logits, frozen_features, l2_normalize

IMAGE_FEATURE = "image feature"  # where a method has one
OWN_RULE = "own scores"


class Method(nn.Module):
    """Learned tensors around a frozen CLIP.

    ``clip_model`` is not a submodule: ``state_dict`` and ``parameters`` hold what is learned and nothing else. A
    subclass has ``class_features``; the rest is that of CLIP where it does not say otherwise.
    """

    clip_model: CLIP
    changes_image_feature = False  # whether ``image_features`` is one of the method's own, [B, d]
    # By which it can score classes trained on and others in one space (``joint_scores``), its own way first.
    rules: tuple[str, ...] = (OWN_RULE,)

    def __init__(self, clip_model: CLIP):
        super().__init__()
        self.__dict__["clip_model"] = clip_model.requires_grad_(False)

    def class_features(self) -> Any:
        """Return what ``scores`` needs of the classes, computed once per evaluation; usually unit features [C, d]."""
        raise NotImplementedError

    def image_features(self, images: Tensor) -> Any:
        """Return what ``scores`` needs of images ``[B, 3, H, W]``: here unit features ``[B, d]`` of frozen CLIP."""
        return clip_image_features(self.clip_model, images)

    def scores(self, images: Tensor, class_features: Any) -> Tensor:
        """Return evaluation scores ``[B, C]``: here CLIP's cosine logits."""
        return cosine_logits(self.clip_model, self.image_features(images), class_features)

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss and the scores ``[B, C]`` of training accuracy: here the scores' mean cross-entropy.

        Images are ``[B, 3, H, W]``, labels ``[B]``.
        """
        scores = self.scores(images, self.class_features())
        return F.cross_entropy(scores, labels), scores

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return class probabilities ``[B, C]`` of evaluation scores, at least float32."""
        return at_least_float32(scores).softmax(dim=-1)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """Return the logarithm of ``probabilities`` ``[B, C]``, finite."""
        return at_least_float32(scores).log_softmax(dim=-1)

    def use_classes(self, seen: bool) -> None:
        """Say whether the classes to score are exactly those trained on, for methods that then score differently.

        A method that cannot score other classes raises ValueError for ``seen=False``.
        """

    def use_all_classes(self) -> None:
        """Say that classes trained on and others are scored side by side, for images of which no side is known.

        Here all of them as others are; a method with something of its own for each class gives each what it has. Raises
        as ``use_classes`` does.
        """
        self.use_classes(False)

    def joint_scores(self, images: Tensor, class_features: Any) -> Tensor:
        """Return log-probabilities ``[B, R, C]``, at least float32, by each of ``rules``."""
        return self.log_probabilities(self.scores(images, class_features))[:, None]

    def named_image_features(self, images: Tensor) -> dict[str, Tensor]:
        """Return unit features ``[B, d]`` that the method makes of images, by what they are; none of frozen CLIP's."""
        return {IMAGE_FEATURE: l2_normalize(self.image_features(images))} if self.changes_image_feature else {}

    def one_feature_per_class(self, class_features: Any) -> Tensor | None:
        """Return unit class features ``[C, d]`` out of ``class_features``, or None where there is no such thing."""
        return l2_normalize(class_features) if isinstance(class_features, Tensor) else None

    def weight_of_class_feature(self) -> float | None:
        """Return alpha, which weighs a class feature against another one in the scores; None without another."""
        return None

    def scores_at(self, alphas: Sequence[float], features: Mapping[str, Tensor], w: Any) -> Iterable[Tensor]:
        """Yield the scores ``[B, C]`` that each alpha would give, of named image features and class features ``w``."""
        return ()

    def merged_clip(self) -> dict[str, Tensor] | None:
        """Return the state dict of a plain CLIP that gives the method's features; None where there is none."""
        return None

    def fit_to(self, tensors: Mapping[str, Tensor], classnames: Sequence[str] | None) -> None:
        """Get ready to load a checkpoint's tensors, learned on these classes (None if the checkpoint does not say).

        For methods with tensors whose sizes or order depend on the data trained on.
        """

    def from_noise(self, name: str, values: Tensor) -> Tensor:
        """Return the initial value of a learned tensor for which the public code draws ``values``: here themselves."""
        return values

    def ignores_checkpoint_key(self, key: str) -> bool:
        """Return whether a tensor of official checkpoints is frozen or made of the classes trained on: not loaded."""
        return False


class DualEncoder(Method):
    """A method of one feature per image and one per class, whose cosines are its scores: plug-ins see both.

    A subclass has ``raw_class_features`` and, where they differ from CLIP's, ``raw_image_features`` and ``scores_of``;
    what its loss has beside the mean cross-entropy is its ``regularizer``. One that overrides more is not open to
    plug-ins that need features (``shows_features``).
    """

    def raw_class_features(self) -> Tensor:
        """Return class features ``[C, d]``, not normalised."""
        raise NotImplementedError

    def raw_image_features(self, images: Tensor) -> Tensor:
        """Return image features ``[B, d]``, not normalised: here those of frozen CLIP."""
        return frozen_features(self.clip_model, images)

    def regularizer(self, w: Tensor) -> Tensor | float:
        """Return what the loss has beside the cross-entropy, of unit class features ``[C, d]``: here nothing."""
        return 0.0

    def class_features(self) -> Tensor:
        """Return unit class features ``[C, d]``."""
        return l2_normalize(self.raw_class_features())

    def image_features(self, images: Tensor) -> Tensor:
        """Return unit image features ``[B, d]``."""
        return l2_normalize(self.raw_image_features(images))

    def shows_features(self) -> bool:
        """Return whether loss and scores are made of the raw features as here, and not in a subclass's own way."""
        names = ("class_features", "image_features", "scores", "loss_of", "loss")
        return all(getattr(type(self), name) is getattr(DualEncoder, name) for name in names)

    def scores(self, images: Tensor, class_features: Any) -> Tensor:
        """Return evaluation scores ``[B, C]``."""
        return self.scores_of(self.raw_image_features(images), class_features)

    def scores_of(self, v: Tensor, w: Tensor) -> Tensor:
        """Return CLIP's cosine logits ``[B, C]`` of image features ``[B, d]`` and unit class features ``[C, d]``."""
        return cosine_logits(self.clip_model, l2_normalize(v), w)

    def loss_of(self, v: Tensor, t: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and scores ``[B, C]`` of image features ``[B, d]`` and class features ``[C, d]``, as they are."""
        w = l2_normalize(t)
        scores = self.scores_of(v, w)
        return F.cross_entropy(scores, labels) + self.regularizer(w), scores

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        t = self.raw_class_features()
        return self.loss_of(self.raw_image_features(images), t, labels)
