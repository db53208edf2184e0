"""A trainer as people write them for Dassl and CoOp: a TrainerX with its own node of settings, and nothing of ours."""

import torch
import torch.nn as nn
from torch.nn import functional as F
from yacs.config import CfgNode as CN

from clip import clip
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer


def extend_cfg(cfg):
    cfg.TRAINER.MINE = CN()
    cfg.TRAINER.MINE.PREC = "fp32"
    cfg.TRAINER.MINE.SCALE = 1.0


class CustomCLIP(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        prompts = torch.cat([clip.tokenize(f"a photo of a {name.replace('_', ' ')}.") for name in classnames])
        with torch.no_grad():
            text = clip_model.encode_text(prompts)
        self.register_buffer("text", F.normalize(text.float(), dim=-1))
        self.image_encoder = clip_model.visual
        self.scale = cfg.TRAINER.MINE.SCALE * clip_model.logit_scale.exp().item()
        self.gain = nn.Parameter(torch.ones(text.shape[1]))

    def forward(self, image):
        features = self.gain * self.image_encoder(image)
        return self.scale * F.normalize(features, dim=-1) @ self.text.t()


@TRAINER_REGISTRY.register()
class Mine(TrainerX):
    def check_cfg(self, cfg):
        assert cfg.TRAINER.MINE.PREC in ["fp16", "fp32", "amp"]

    def build_model(self):
        cfg = self.cfg
        clip_model, _ = clip.load(cfg.MODEL.BACKBONE.NAME, device="cpu")
        self.model = CustomCLIP(cfg, self.dm.dataset.classnames, clip_model.float())
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name == "gain")
        self.model.to(self.device)
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("mine", self.model, self.optim, self.sched)

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        output = self.model(image)
        loss = F.cross_entropy(output, label)
        self.model_backward_and_update(loss)
        summary = {"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return summary

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)
