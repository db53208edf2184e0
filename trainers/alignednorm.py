"""AlignedNorm: MMRL++ with aligned norms (ICML 2026, arXiv 2606.06601).

MMRL++ (``trainers/mmrlpp.py``) with two more terms in the loss, on the image tower alone. Before they are normalised,
representation features u_r get the length of class features u_c, and the representation tokens' states the length of
the class token's, in every layer l of J..L:

    n_out = mean_B | |u_r| - sg |u_c| |
    n_seq = mean_lk | mean_B |X^l_k| - sg mean_B |X^l_class| |

with X^l the outputs of layer l, sg "no gradient", and weights FINAL_NORM and SEQ_NORM. Both features then score all
classes, new ones and other data sets' as well (MMRL++: the class feature alone there).

Facts of the authors' code: norms of states are averaged over the batch before they are compared, those of features
after; weights are those of the two means, whatever the number of layers. Two more terms are computed there and logged,
not added; here they are left out. The repository's present head holds no code; its terms were read from an earlier
state and a port, which agree. For plain MMRL the authors define nothing.

Shapes: B images, K tokens, M patches, d_v width, d joint width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from clip.layers import no_autocast
from dassl.engine import TRAINER_REGISTRY

from .mmrl import ALONE, Outputs
from .mmrlpp import MMRLpp, MMRLppModel
from .settings import AlignedNormSettings
from .shared.cosine import at_least_float32, l2_normalize


class Norms(NamedTuple):
    """Lengths of the features before they are normalised, and of layers' outputs; layers J..L are S."""

    u_c: Tensor  # [B]
    u_r: Tensor  # [B]
    states: Tensor  # [S, B, K + 1], the class token last


class AlignedNormModel(MMRLppModel):
    """MMRL++ whose loss has two more terms."""

    settings: AlignedNormSettings
    rules = ("single rule: both features", ALONE)  # type: ignore[assignment]

    def loss(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return MMRL++'s loss and the weighted terms, and the scores that training accuracy is read from."""
        out, norms = self.outputs_and_norms(images)
        terms = self.settings.final_norm * final_term(norms) + self.settings.seq_norm * sequence_term(norms)
        return self.loss_of(out, labels) + terms, self.fuse(out.logits, out.logits_rep)

    def outputs_and_norms(self, images: Tensor) -> tuple[Outputs, Norms]:
        """Return what ``forward`` returns, and the norms on the way to it."""
        vision, text = self.representation_learner(self.text_states.dtype)
        x, projected, f_0 = self._frozen(images, share=len(vision) > 1)
        seen = len(vision[0]) + 1  # the tokens and the class token
        states = [out[:, :seen] for out in self._image_outputs(x, vision, True, projected)]
        u_c, u_r = self.clip_model.visual.to_joint_space(states[-1][:, -1]), self._read_rep(states[-1][:, :-1])
        norms = Norms(norm(u_c), norm(u_r), torch.stack([norm(x) for x in states]))
        return self._outputs(l2_normalize(u_c), l2_normalize(u_r), f_0, self._adapted_text(text)), norms


def norm(x: Tensor) -> Tensor:
    """Return lengths ``[...]`` of vectors ``[..., d]``, at least float32."""
    with no_autocast(x):
        return torch.linalg.vector_norm(at_least_float32(x), dim=-1)


def final_term(norms: Norms) -> Tensor:
    """Return n_out, a scalar."""
    return (norms.u_r - norms.u_c.detach()).abs().mean()


def sequence_term(norms: Norms) -> Tensor:
    """Return n_seq, a scalar."""
    means = norms.states.mean(dim=1)  # [S, K + 1]
    return (means[:, :-1] - means[:, -1:].detach()).abs().mean()


@TRAINER_REGISTRY.register()
class ALIGNEDNORM(MMRLpp):
    """Trainer of AlignedNorm; ``AlignedNorm`` is an alias of its name."""

    model_class = AlignedNormModel
