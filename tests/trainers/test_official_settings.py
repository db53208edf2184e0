"""The settings of the official releases, each by its configuration: key by key what the public codes have."""

from __future__ import annotations

import shlex

import pytest

from runs import config
from tests.runs.resolved import resolve

COSINE = "OPTIM.LR_SCHEDULER cosine INPUT.RRCROP_SCALE (0.08,1.0)"
WARM = "OPTIM.WARMUP_EPOCH 1 OPTIM.WARMUP_TYPE constant OPTIM.WARMUP_CONS_LR 1e-5"
SGD = f"OPTIM.NAME sgd OPTIM.MOMENTUM 0.9 {COSINE}"
DEEP = f"{SGD} {WARM} TEST.FINAL_MODEL last_step DATALOADER.TEST.BATCH_SIZE 100"
# Of all rows of a method.
METHODS = {
    "CLIPAdapter": "OPTIM.NAME sgd OPTIM.WARMUP_CONS_LR 1e-5 INPUT.RRCROP_SCALE (0.08,1.0) %CLIPADAPTER.RATIO 0.2 "
    "%CLIPADAPTER.REDUCTION 4 %CLIPADAPTER.PREC fp32",
    "CLIP_LoRA": f"OPTIM.NAME adamw {COSINE} OPTIM.WARMUP_EPOCH 0 DATALOADER.TEST.BATCH_SIZE 256 %CLIPLORA.R 2 "
    "%CLIPLORA.ALPHA 1 %CLIPLORA.DROPOUT_RATE 0.25 %CLIPLORA.PREC amp %CLIPLORA.ENCODER both %CLIPLORA.POSITION all "
    "%CLIPLORA.PARAMS \"['q','k','v']\"",
    "MMRLpp": "OPTIM.NAME adamw OPTIM.LR_SCHEDULER cosine INPUT.RRCROP_SCALE (0.5,1.0) %MMRLpp.ALPHA 0.7 "
    "%MMRLpp.BETA 0.9 %MMRLpp.REP_LAYERS [6,7,8,9,10,11,12] %MMRLpp.REP_DIM 512 %MMRLpp.N_REP_TOKENS 5 "
    "%MMRLpp.RES_LORA_DIM 4 %MMRLpp.PROJ_LORA_DIM 64 %MMRLpp.PREC amp %MMRLpp.FUSION logits "
    "%MMRLpp.BETA_AT_TEST training",
    "MaPLe": f"{DEEP} %MAPLE.PREC fp16",
    "Meta_B2N": f"{DEEP} %META.PREC fp16",
    "MultiModalAdapter": f"{SGD} OPTIM.WARMUP_EPOCH 0 DATALOADER.TEST.BATCH_SIZE 100 %MMADAPTER.ADAPTER_END 12 "
    "%MMADAPTER.ADAPTER_DIM 32 %MMADAPTER.ADAPTER_SCALE 0.001 %MMADAPTER.PREC amp "
    "%MMADAPTER.TEXT_CTX_INIT 'a photo of a'",
    "ProDA": "OPTIM.NAME sgd OPTIM.WARMUP_EPOCH 1 %PRODA.N_CTX 16 %PRODA.N_PROMPT 32 %PRODA.PROMPT_BS 4 "
    "%PRODA.LAMBDA 0.1 %PRODA.PREC fp16",
    "PromptSRC": f"{DEEP} %PROMPTSRC.PREC fp16",
    "ProVP": f"{SGD} {WARM} TEST.FINAL_MODEL best_val DATALOADER.TEST.BATCH_SIZE 512 %PROVP.PREC fp16",
    "RPO": f"{SGD} {WARM} DATALOADER.TEST.BATCH_SIZE 100 %RPO.PREC fp16",
    "TCP": f"OPTIM.NAME adam {COSINE} {WARM} DATALOADER.TEST.BATCH_SIZE 500 %COOP.N_CTX 4 %COOP.CTX_INIT False "
    "%COOP.CSC False %COOP.PREC fp16",
}
# Method, configuration, data set; rate, epochs, batch, weight decay ("-": not looked at); what else the row has.
SETTINGS = """
CLIPAdapter vit_b16_c4_ep200_batch32 dtd 0.002 200 32 -
CLIPAdapter rn50_ep50 dtd - 50 - -
MMRLpp vit_b16 imagenet 0.001 10 4 5e-4 TASK B2N OPTIM.WARMUP_EPOCH 1 %MMRLpp.REG_WEIGHT 0.2
MMRLpp vit_b16_imagenet imagenet 0.001 5 32 5e-4 TASK B2N OPTIM.WARMUP_EPOCH 1 %MMRLpp.REG_WEIGHT 0.2
MMRLpp vit_b16_few_shot imagenet 0.002 100 32 5e-4 TASK FS OPTIM.WARMUP_EPOCH 1 %MMRLpp.REG_WEIGHT 0.2
MMRLpp vit_b16_cross_datasets imagenet 0.001 1 32 5e-4 TASK CD OPTIM.WARMUP_EPOCH 0 %MMRLpp.REG_WEIGHT 0.1
MaPLe vit_b16_c2_ep5_batch4_2ctx imagenet 0.0035 5 4 5e-4 TASK B2N %MAPLE.PROMPT_DEPTH 9 %MAPLE.N_CTX 2
MaPLe vit_b16_c2_ep5_batch4_2ctx_cross_datasets imagenet 0.0026 2 4 5e-4 TASK CD %MAPLE.PROMPT_DEPTH 3
Meta_B2N vit_b16 imagenet 0.0015 8 16 5e-4 TASK B2N %META.N_CTX 2 %META.N_PRO 2 %META.LAYERS 12 %META.META_STEP 0.2
MultiModalAdapter vit_b16_ep5 imagenet 0.0015 5 16 5e-4 %MMADAPTER.ADAPTER_START 5
MultiModalAdapter vit_b16_ep5_imnet imagenet 0.0015 5 128 5e-4 %MMADAPTER.ADAPTER_START 5
MultiModalAdapter vit_b16_ep1_xd imagenet 0.0015 1 128 5e-4 %MMADAPTER.ADAPTER_START 9
ProDA vit_b16_c16_ep100_batch4 dtd 0.001 100 4 -
PromptSRC vit_b16_c2_ep20_batch4_4+4ctx imagenet 0.0025 20 4 5e-4 TASK B2N %PROMPTSRC.PROMPT_DEPTH_TEXT 9 \
%PROMPTSRC.GPA_MEAN 15.0 %PROMPTSRC.GPA_STD 1.0
PromptSRC vit_b16_c2_ep20_batch4_4+4ctx_cross_datasets imagenet 0.0025 20 4 5e-4 TASK CD \
%PROMPTSRC.PROMPT_DEPTH_VISION 3 %PROMPTSRC.PROMPT_DEPTH_TEXT 3 %PROMPTSRC.GPA_MEAN 6.0 %PROMPTSRC.GPA_STD 10.0
PromptSRC vit_b16_c2_ep50_batch4_4+4ctx_few_shot imagenet 0.0025 50 4 5e-4 TASK FS \
%PROMPTSRC.GPA_MEAN 30.0 %PROMPTSRC.GPA_STD 30.0
PromptSRC vit_b16_c2_ep50_batch4_4+4ctx_few_shot_gpa45 imagenet 0.0025 50 4 5e-4 TASK FS \
%PROMPTSRC.GPA_MEAN 45.0 %PROMPTSRC.GPA_STD 5.0
ProVP vit_b16_b2n_ep100 imagenet 0.1 100 32 1e-3 TASK B2N %PROVP.N_CTX 16 %PROVP.USE_REF True
ProVP vit_b16_img imagenet 5.0 100 32 5e-3 TASK B2N %PROVP.N_CTX 16 %PROVP.USE_REF True
ProVP vit_b16 imagenet 0.1 200 32 5e-4 TASK FS %PROVP.N_CTX 50 %PROVP.USE_REF True
ProVP vit_b16_ref imagenet 0.1 200 32 5e-4 TASK FS %PROVP.N_CTX 50 %PROVP.USE_REF True
ProVP vit_b16_lam imagenet 0.1 200 32 5e-4 TASK FS %PROVP.N_CTX 50 %PROVP.USE_REF True
ProVP vit_b16_ref_ep100 imagenet 0.1 100 32 5e-4 TASK FS %PROVP.N_CTX 50 %PROVP.USE_REF True
ProVP vit_b16_ref_ep50 imagenet 0.1 50 32 1e-3 TASK CD %PROVP.USE_REF True %PROVP.SELECT_ON_TEST False
ProVP vit_b16_ep100 imagenet 0.1 100 32 5e-4 TASK FS %PROVP.N_CTX 50 %PROVP.USE_REF False
ProVP vit_b16_ep50 imagenet 0.1 50 32 5e-4 TASK FS %PROVP.N_CTX 50 %PROVP.USE_REF False
RPO main_K24 imagenet 0.01 15 4 5e-4 %RPO.K 24
RPO main_K4 imagenet 0.01 15 4 5e-4 %RPO.K 4
RPO main imagenet 0.01 15 4 5e-4 %RPO.K 4
RPO imagenet_k24_ep15 imagenet 0.005 15 4 5e-4 %RPO.K 24
TCP vit_b16_ep100_ctxv1 eurosat 0.002 50 32 5e-4
TCP vit_b16_ep100_ctxv1 imagenet 0.002 25 32 5e-4
TCP vit_b16_ep100_ctxv1 sun397 0.002 25 32 5e-4
TCP vit_b16_ep25_ctxv1_xd imagenet 0.002 25 32 5e-4
CLIP_LoRA vit_b16 dtd 2e-4 - 32 1e-2 %CLIPLORA.N_ITERS 500
CLIP_LoRA vit_b16_base2new dtd 2e-4 - 32 1e-2 %CLIPLORA.N_ITERS 300
"""
NUMBERS = ("OPTIM.LR", "OPTIM.MAX_EPOCH", "DATALOADER.TRAIN_X.BATCH_SIZE", "OPTIM.WEIGHT_DECAY")


@pytest.mark.parametrize("row", SETTINGS.strip().splitlines())
def test_settings_are_the_official_ones(row):
    method, stem, dataset, *words = row.split()
    numbers = [word for pair in zip(NUMBERS, words, strict=False) if pair[1] != "-" for word in pair]
    rest = shlex.split(f"{METHODS[method]} {' '.join(words[4:])}".replace("%", "TRAINER."))
    cfg = resolve(method, stem, dataset)
    found, wanted = dict(config.flatten(cfg)), cfg.clone()
    wanted.merge_from_list([*numbers, *rest])
    assert found == dict(config.flatten(wanted))
