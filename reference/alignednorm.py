"""AlignedNorm, plainly: MMRL++'s reference with the two terms of norms."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reference import Reference
from trainers.alignednorm import Norms, final_term, norm, sequence_term
from trainers.shared.cosine import cosine_distance

from . import mmrl, mmrlpp
from .shared.official import BASE, Command
from .shared.plain import Learned, Weights


class PlainAlignedNorm(mmrlpp.PlainMMRLpp):
    """MMRL++'s loss and the weighted terms; both features score all classes."""

    def __init__(self, *args: Any, final_norm: float, seq_norm: float, **how: Any):
        super().__init__(*args, **how)
        self.final_norm, self.seq_norm = final_norm, seq_norm

    def loss_of(self, f: dict[str, Any], labels: Tensor) -> Tensor:
        """MMRL++'s, + FINAL_NORM n_out + SEQ_NORM n_seq."""
        n_out = (f["u_r"].norm(dim=-1) - f["u_c"].norm(dim=-1).detach()).abs().mean()
        lengths = torch.stack([x.norm(dim=-1).mean(dim=0) for x in f["states"]])  # [layers, 1 + K]
        n_seq = (lengths[:, 1:] - lengths[:, :1].detach()).abs().mean()
        return super().loss_of(f, labels) + self.final_norm * n_out + self.seq_norm * n_seq

    def scores(self, learned: Learned, images: Tensor, class_features: Tensor, seen: bool = True) -> Tensor:
        return super().scores(learned, images, class_features)

    def probabilities(self, scores: Tensor, seen: bool = True) -> Tensor:
        return super().probabilities(scores)


def plain(weights: Weights, names: list[str], cfg: Any) -> PlainAlignedNorm:
    """Build the equations."""
    node = cfg.TRAINER.ALIGNEDNORM
    norms = {"final_norm": node.FINAL_NORM, "seq_norm": node.SEQ_NORM}
    return mmrlpp.build(PlainAlignedNorm, node, weights, names, cfg, **norms)


def draw(pick: Any, vision: int, text: int) -> dict[str, Any]:
    """Choose what MMRL++ has, and the weights of the norms."""
    return {
        **mmrlpp.draw(pick, vision, text, "ALIGNEDNORM"),
        "TRAINER.ALIGNEDNORM.FINAL_NORM": pick([0.0, 0.15]),
        "TRAINER.ALIGNEDNORM.SEQ_NORM": pick([0.0, 0.1]),
    }


class Golden(mmrl.Golden):
    """Beside MMRL's arrays the norms and each term of the loss, also those that the public code only logs."""

    def before(self) -> dict[str, Tensor]:
        model, settings = self.model, self.model.settings
        read_by, attentions = model.clip_model.visual.ln_post, [block.attn.out_proj for block in model.image_upper]
        heard: dict[nn.Module, Tensor] = {}  # the last output of each; that of the frozen branch comes before
        reads: list[Tensor] = []
        hooks = [one.register_forward_hook(lambda it, _, out: heard.update({it: out})) for one in attentions]
        hooks.append(read_by.register_forward_hook(lambda it, _, out: reads.append(out)))
        out, norms = model.outputs_and_norms(self.images)
        for hook in hooks:
            hook.remove()
        tokens = norms.states.shape[2]
        attended = torch.stack([norm(heard[one][:, :tokens]) for one in attentions])
        unused = Norms(norm(reads[-2]), norm(reads[-1].mean(dim=1)), attended)
        cross_entropies = [F.cross_entropy(logits, self.labels) for logits in (out.logits, out.logits_rep)]
        means = norms.states.mean(dim=1)
        return self.logits(out) | {
            "image_features": out.image_features,
            "image_features_clip": out.image_features_clip,
            "text_features": out.text_features,
            "text_features_clip": out.text_features_clip,
            "norm_cls": norms.u_c,
            "norm_rep": norms.u_r,
            "seq_norm_cls": means[:, -1:],
            "seq_norm_rep": means[:, :-1],
            "loss/ce": settings.alpha * cross_entropies[0] + (1 - settings.alpha) * cross_entropies[1],
            "loss/raw_ce_cls": cross_entropies[0],
            "loss/raw_ce_rep": cross_entropies[1],
            "loss/scl_image": settings.reg_weight * cosine_distance(out.image_features, out.image_features_clip),
            "loss/scl_text": settings.reg_weight * cosine_distance(out.text_features, out.text_features_clip),
            "loss/norm": settings.final_norm * final_term(norms),
            "loss/seq_post": settings.seq_norm * sequence_term(norms),
            "loss/unused_norm_ln": 0.1 * final_term(unused),
            "loss/unused_seq_att": 0.1 * sequence_term(unused),
        }

    def logits(self, out: Any) -> dict[str, Tensor]:
        """The scores, of both features and of each."""
        fused = self.model.fuse(out.logits, out.logits_rep)
        return {"logits": fused, "logits_cls": out.logits, "logits_rep": out.logits_rep}

    def after(self) -> dict[str, Tensor]:
        return super().after() | {f"eval_{name}": x for name, x in self.logits(self.model(self.images)).items()}


ALIGNEDNORM = Reference(
    plain,
    draw=draw,
    toy={"TRAINER.ALIGNEDNORM.REP_LAYERS": [2, 3], "TRAINER.ALIGNEDNORM.REP_DIM": 16},
    unseen=True,  # as MMRL++'s
    numbers=Golden,
    bounds=mmrl.BOUNDS,
    checkpoints=(mmrlpp.OFFICIAL,),
    commands=(Command("vit_b16", f"{BASE} TASK B2N", ("ALIGNEDNORM.BETA", 0.6)),),
    never_drawn=r".*\.B",
    clips_built=2,
)
