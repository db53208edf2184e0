"""What methods refuse as they are built: settings out of range, and towers that they cannot change."""

from __future__ import annotations

import pytest
import torch

import trainers
from clip.model import CLIP

# (method, options, the line; its beginning where it ends in dots)
REFUSED = [
    ("CoOp", ["TRAINER.COOP.N_CTX", 0], "TRAINER.COOP.N_CTX must be at least 1, not 0..."),
    ("CoCoOp", ["TRAINER.COCOOP.N_CTX", -1], "TRAINER.COCOOP.N_CTX must be at least 1, not -1..."),
    ("CoOp", ["TRAINER.COOP.CTX_INIT", True], "TRAINER.COOP.CTX_INIT must be words, such as 'a photo of a'..."),
    ("KgCoOp", ["TRAINER.COOP.CTX_INIT", "a"], "TRAINER.COOP.CTX_INIT must be True (start from words) or False..."),
    (
        "CoOp",
        ["TRAINER.COOP.CTX_INIT", "a photo", "TRAINER.COOP.CSC", True],
        "TRAINER.COOP.CSC True needs random vectors: set CSC False, or leave TRAINER.COOP.CTX_INIT empty...",
    ),
    (
        "KgCoOp",
        ["TRAINER.COOP.CLASS_TOKEN_POSITION", "start"],
        "TRAINER.COOP.CLASS_TOKEN_POSITION must be end, middle or front, not 'start'...",
    ),
    ("KgCoOp", ["TRAINER.COOP.W", -1.0], "TRAINER.COOP.W must be at least 0, not -1.0..."),
    ("ProGrad", ["LOSS.NAME", "kd"], "LOSS.NAME must be prograd, not 'kd'..."),
    ("ProGrad", ["LOSS.T", 0.0], "LOSS.T must be above 0, not 0.0..."),
    ("ProGrad", ["LOSS.LAMBDA", 1.5], "LOSS.LAMBDA must lie in [0, 1], not 1.5..."),
    (
        "ProGrad",
        ["TRAINER.COOP.N_CTX", 4, "TRAINER.COOP.CTX_INIT", True],
        "TRAINER.COOP.N_CTX is 4, but 'a photo of the digit' has 5 words: raise N_CTX, or set...",
    ),
    (
        "ProGrad",
        ["DATASET.TEMPLATE", "{} texture.", "TRAINER.COOP.CTX_INIT", True],
        "ProGrad's context starts from the words before the class name, but the template is '{} texture.': set...",
    ),
    (
        "MultiModalAdapter",
        ["TRAINER.MMADAPTER.ADAPTER_DIM", 0],
        "TRAINER.MMADAPTER.ADAPTER_DIM must be at least 1, not 0",
    ),
    (
        "MultiModalAdapter",
        ["TRAINER.MMADAPTER.ADAPTER_SCALE", 0.0],
        "TRAINER.MMADAPTER.ADAPTER_SCALE must be more than 0, not 0.0",
    ),
    (
        "MultiModalAdapter",
        ["TRAINER.MMADAPTER.ADAPTER_START", 0],
        "TRAINER.MMADAPTER.ADAPTER_START must be at least 1, not 0",
    ),
    (
        "MultiModalAdapter",
        ["TRAINER.MMADAPTER.ADAPTER_START", 4],
        "TRAINER.MMADAPTER.ADAPTER_END is 3, before ADAPTER_START 4",
    ),
    (
        "MultiModalAdapter",
        ["TRAINER.MMADAPTER.ADAPTER_END", 4],
        "TRAINER.MMADAPTER.ADAPTER_END is 4: the image tower has 3 layers",
    ),
    ("ProDA", ["TRAINER.PRODA.N_CTX", 0], "TRAINER.PRODA.N_CTX must be at least 1, not 0..."),
    ("ProDA", ["TRAINER.PRODA.PROMPT_BS", 3], "TRAINER.PRODA.N_PROMPT must be a multiple of PROMPT_BS, not 4 for 3..."),
    ("ProDA", ["TRAINER.PRODA.LAMBDA", -1.0], "TRAINER.PRODA.LAMBDA must be at least 0, not -1.0..."),
    ("PLOT", ["TRAINER.PLOTPP.CSC", True], "TRAINER.PLOTPP.CSC must be False, not True..."),
    ("PLOT", ["TRAINER.PLOTPP.CTX_INIT", False], "TRAINER.PLOTPP.CTX_INIT must be True, not False..."),
    ("PLOT", ["TRAINER.PLOTPP.N", 0], "TRAINER.PLOTPP.N must be 1 to 4, the phrases of a data set, not 0..."),
    ("PLOT", ["TRAINER.PLOTPP.N", 5], "TRAINER.PLOTPP.N must be 1 to 4, the phrases of a data set, not 5..."),
    ("PLOT", ["TRAINER.PLOTPP.M", 0], "TRAINER.PLOTPP.M must be at least 1, not 0..."),
    ("PLOT", ["TRAINER.PLOTPP.N_CTX_V", 0], "TRAINER.PLOTPP.N_CTX_V must be at least 1, not 0..."),
    ("PLOT", ["TRAINER.PLOTPP.MODEL_UPD", "text"], "TRAINER.PLOTPP.MODEL_UPD is 'text': choose joint or vision..."),
    ("MMRL", ["TRAINER.MMRL.REP_LAYERS", []], "TRAINER.MMRL.REP_LAYERS is empty: give the layers J to L..."),
    (
        "MMRL",
        ["TRAINER.MMRL.REP_LAYERS", [4, 5]],
        "TRAINER.MMRL.REP_LAYERS starts at layer 4, but the image tower has...",
    ),
    (
        "MMRL",
        ["TRAINER.MMRL.REP_LAYERS", [0, 1]],
        "TRAINER.MMRL.REP_LAYERS starts at layer 0, but the image tower has...",
    ),
    (
        "MMRL",
        ["TRAINER.MMRL.REP_LAYERS", [1, 3]],
        "TRAINER.MMRL.REP_LAYERS must run without a gap from J to the image...",
    ),
    ("MMRL", ["TRAINER.MMRL.REP_LAYERS", [2]], "TRAINER.MMRL.REP_LAYERS must run without a gap from J to the image..."),
    ("MMRL", ["TRAINER.MMRL.N_REP_TOKENS", 0], "TRAINER.MMRL.N_REP_TOKENS must be at least 1, not 0..."),
    ("MMRL", ["TRAINER.MMRL.REP_DIM", 0], "TRAINER.MMRL.REP_DIM must be at least 1, not 0..."),
    ("MMRL", ["TRAINER.MMRL.ALPHA", 1.5], "TRAINER.MMRL.ALPHA must lie in [0, 1], not 1.5..."),
    ("MMRL", ["TRAINER.MMRL.REG_WEIGHT", -1.0], "TRAINER.MMRL.REG_WEIGHT must be at least 0, not -1.0..."),
    ("MMRL", ["TRAINER.MMRL.FUSION", "sum"], "TRAINER.MMRL.FUSION must be probs or logits, not 'sum'..."),
    ("MMRL", ["TASK", "XD"], "TASK is 'XD': choose B2N (base to new), CD (cross-dataset) or FS (few-shot)..."),
    (
        "MMRL",
        ["TRAINER.MMRL.VARIANT", "wo_l"],
        "TRAINER.MMRL.VARIANT must be one of full, wo_L, wo_V, wo_RS, biased, wo_DS1, wo_DS2, not 'wo_l'",
    ),
    ("MMRL", ["TRAINER.MMRL.REGULARIZER", "L2"], "TRAINER.MMRL.REGULARIZER must be cos, l1 or mse, not 'L2'"),
    ("MMRLpp", ["TRAINER.MMRLpp.BETA", 1.5], "TRAINER.MMRLpp.BETA must lie in [0, 1], not 1.5"),
    ("MMRLpp", ["TRAINER.MMRLpp.RES_LORA_DIM", 0], "TRAINER.MMRLpp.RES_LORA_DIM must be at least 1, not 0"),
    ("MMRLpp", ["TRAINER.MMRLpp.PROJ_LORA_DIM", 0], "TRAINER.MMRLpp.PROJ_LORA_DIM must be at least 1, not 0"),
    (
        "MMRLpp",
        ["TRAINER.MMRLpp.REP_LAYERS", [4]],
        "TRAINER.MMRLpp.REP_LAYERS starts at layer 4, but the image tower has layers 1 to 3",
    ),
    ("MMRLpp", ["TRAINER.MMRLpp.ALPHA", -1.0], "TRAINER.MMRLpp.ALPHA must lie in [0, 1], not -1.0"),
    (
        "MMRLpp",
        ["TRAINER.MMRLpp.BETA_AT_TEST", "best"],
        "TRAINER.MMRLpp.BETA_AT_TEST must be training or target, not 'best'",
    ),
    (
        "MMRLpp",
        ["TRAINER.MMRLpp.TARGET_BETA", [["A", 2]]],
        "TRAINER.MMRLpp.TARGET_BETA holds pairs of a dataset and a beta in [0, 1], not ['A', 2]",
    ),
    ("CLIPAdapter", ["TRAINER.CLIPADAPTER.RATIO", 1.5], "TRAINER.CLIPADAPTER.RATIO must lie in [0, 1], not 1.5..."),
    ("CLIPAdapter", ["TRAINER.CLIPADAPTER.REDUCTION", 64], "TRAINER.CLIPADAPTER.REDUCTION must lie between 1 and..."),
    (
        "MaPLe",
        ["TRAINER.MAPLE.PROMPT_DEPTH", 4],
        "TRAINER.MAPLE.PROMPT_DEPTH must be 1 to 3, the layers of the shallower tower...",
    ),
    ("MaPLe", ["TRAINER.MAPLE.PROMPT_DEPTH", 0], "TRAINER.MAPLE.PROMPT_DEPTH must be 1 to 3..."),
    ("MaPLe", ["TRAINER.MAPLE.N_CTX", 0], "TRAINER.MAPLE.N_CTX must be at least 1, not 0..."),
    (
        "MaPLe",
        ["TRAINER.MAPLE.CTX_INIT", "photo"],
        "TRAINER.MAPLE.CTX_INIT 'photo' has 1 tokens, fewer than N_CTX 2...",
    ),
    (
        "PromptSRC",
        ["TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", 4],
        "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION must be 1 to 3, the layers...",
    ),
    (
        "PromptSRC",
        ["TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", 0],
        "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT must be 1 to 3, the layers...",
    ),
    ("PromptSRC", ["TRAINER.PROMPTSRC.N_CTX_VISION", 0], "TRAINER.PROMPTSRC.N_CTX_VISION must be at least 1, not 0..."),
    ("PromptSRC", ["TRAINER.PROMPTSRC.N_CTX_TEXT", 0], "TRAINER.PROMPTSRC.N_CTX_TEXT must be at least 1, not 0..."),
    ("PromptSRC", ["TRAINER.PROMPTSRC.GPA_STD", 0.0], "TRAINER.PROMPTSRC.GPA_STD must be above 0, not 0.0..."),
    (
        "PromptSRC",
        ["TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT", -1.0],
        "TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT must be at least 0, not -1.0...",
    ),
    ("ProVP", ["TRAINER.PROVP.N_CTX", 0], "TRAINER.PROVP.N_CTX must be at least 1, not 0..."),
    (
        "Meta_B2N",
        ["TRAINER.META.LAYERS", 4],
        "TRAINER.META.LAYERS must be 1 to 3, the layers of the shallower tower, not 4...",
    ),
    ("Meta_B2N", ["TRAINER.META.N_PRO", 0], "TRAINER.META.N_PRO must be at least 1, not 0..."),
    ("Meta_B2N", ["TRAINER.META.META_STEP", -0.1], "TRAINER.META.META_STEP must be at least 0, not -0.1..."),
    ("TipAdapter", ["TRAINER.TIPADAPTER.SELECTION", "x"], "TRAINER.TIPADAPTER.SELECTION is 'x': choose val, few..."),
    ("TipAdapterF", ["TRAINER.TIPADAPTER.AUGMENT_EPOCH", 0], "TRAINER.TIPADAPTER.AUGMENT_EPOCH must be at least 1..."),
    ("TipAdapter", ["TRAINER.TIPADAPTER.SEARCH_STEP", [0, 1]], "TRAINER.TIPADAPTER.SEARCH_STEP must be two positi..."),
    (
        "LinearProbe",
        ["TRAINER.LINEARPROBE.SAMPLING", "x"],
        "TRAINER.LINEARPROBE.SAMPLING is 'x': choose run or official...",
    ),
    (
        "LinearProbe",
        ["TRAINER.LINEARPROBE.SELECTION", "x"],
        "TRAINER.LINEARPROBE.SELECTION is 'x': choose val or test_as_pub...",
    ),
    (
        "LinearProbe",
        ["TRAINER.LINEARPROBE.SEARCH_STEPS", -1],
        "TRAINER.LINEARPROBE.SEARCH_STEPS must be at least 0, not -1...",
    ),
    (
        "LinearProbe",
        ["TRAINER.LINEARPROBE.SAMPLING", "official", "DATASET.NUM_SHOTS", -1],
        "TRAINER.LINEARPROBE.SAMPLING official...",
    ),
    ("TCP", ["TRAINER.COOP.N_CTX", 16], "TRAINER.COOP.N_CTX must be 4 for TCP, not 16"),
    ("TCP", ["TRAINER.COOP.CSC", True], "TRAINER.COOP.CSC must be False for TCP, not True"),
    (
        "TCP",
        ["TRAINER.COOP.CLASS_TOKEN_POSITION", "front"],
        "TRAINER.COOP.CLASS_TOKEN_POSITION must be end for TCP, not front",
    ),
    ("RPO", ["TRAINER.RPO.K", 0], "TRAINER.RPO.K must be at least 1, not 0"),
]


@pytest.mark.parametrize(("method", "options", "line"), REFUSED)
def test_settings_out_of_range_are_refused(method, options, line, make_trainer):
    with pytest.raises(ValueError) as caught:
        make_trainer(method, *options)
    found = str(caught.value)
    assert found == line or line.endswith("...") and found.startswith(line[:-3])


@pytest.mark.parametrize("method", ["MMRL", "MultiModalAdapter", "RPO", "MaPLe", "PromptSRC", "ProVP", "Meta_B2N"])
def test_resnet_backbone_is_refused(method, make_trainer):
    with torch.device("meta"):
        clip_model = CLIP(32, 64, (1, 1, 1, 1), 64, None, 77, 100, 64, 1, 3)
    cfg = make_trainer(method).cfg
    with pytest.raises(ValueError, match=f"^{method} needs a ViT image tower: this backbone is a ResNet; set MODEL"):
        trainers.load(method).build_method(cfg, clip_model, ["a"])
