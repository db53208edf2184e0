"""The methods. A new one is a file here, a folder in ``configs/trainers`` and a row in ``METHODS``.

Nothing here needs torch, so that a run's configuration is resolved, and a finished run recognised, at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from yacs.config import CfgNode

from .shared import config_files, engine, foreign


@dataclass(frozen=True)
class Entry:
    """Where a method lives, and the defaults of its node ``TRAINER.<NODE>``, which are those of its paper.

    ``public_draws``: whether it is known what its public code draws (``official_draws``); may go by the settings.
    """

    module: str
    node: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    public_draws: bool | Callable[[Any], bool] = False


_TIP_ADAPTER = {
    "AUGMENT_EPOCH": 10,
    "INIT_BETA": 1.0,  # per data set in configs/trainers/TipAdapter/datasets.yaml, as are the next two
    "INIT_ALPHA": 1.17,
    "SEARCH_SCALE": [7.0, 3.0],  # largest beta, alpha
    "SEARCH_STEP": [200, 20],
    "SEARCH_HP": True,
    "SELECTION": "val",
    "PREC": "fp16",
}

# One node for CoOp and the methods that took over its settings. CTX_INIT: words (CoOp), or whether to start from the
# data set's or the method's own phrase (KgCoOp, ProGrad); None, or "", draws. W is KgCoOp's weight.
_COOP = {"N_CTX": 16, "CSC": False, "CTX_INIT": None, "PREC": "fp16", "CLASS_TOKEN_POSITION": "end", "W": 1.0}

METHODS = {
    "CoOp": Entry("trainers.coop", "COOP", _COOP, public_draws=True),
    "CoCoOp": Entry("trainers.cocoop", "COCOOP", {"N_CTX": 16, "CTX_INIT": "", "PREC": "fp16"}, public_draws=True),
    "KgCoOp": Entry("trainers.kgcoop", "COOP", _COOP, public_draws=True),
    "ProGrad": Entry("trainers.prograd", "COOP", _COOP, public_draws=True),
    "MMRL": Entry(
        "trainers.mmrl",
        "MMRL",
        {
            "ALPHA": 0.7,
            "REG_WEIGHT": 0.5,  # lambda; per data set in configs/trainers/MMRL/datasets.yaml
            "REP_LAYERS": [6, 7, 8, 9, 10, 11, 12],
            "REP_DIM": 512,
            "N_REP_TOKENS": 5,
            "PREC": "amp",
            "FUSION": "probs",
            "VARIANT": "full",  # wo_L, wo_V, wo_RS, biased, wo_DS1, wo_DS2: Table 4
            "REGULARIZER": "cos",  # l1, mse: Table 9
        },
        public_draws=lambda node: node.VARIANT in ("full", "wo_DS1", "wo_DS2"),
    ),
    "MMRLpp": Entry(
        "trainers.mmrlpp",
        "MMRLpp",
        {
            "ALPHA": 0.7,
            "BETA": 0.9,  # per data set in configs/trainers/MMRLpp/datasets.yaml, as is lambda
            "REG_WEIGHT": 0.2,
            "REP_LAYERS": [6, 7, 8, 9, 10, 11, 12],
            "REP_DIM": 512,
            "N_REP_TOKENS": 5,
            "RES_LORA_DIM": 4,
            "PROJ_LORA_DIM": 64,
            "PREC": "amp",
            "FUSION": "logits",
            "BETA_AT_TEST": "training",
            "TARGET_BETA": [],
        },
        public_draws=True,
    ),
    "CLIPAdapter": Entry(
        "trainers.clipadapter", "CLIPADAPTER", {"RATIO": 0.2, "REDUCTION": 4, "PREC": "fp32"}, public_draws=True
    ),
    "PLOT": Entry(
        "trainers.plot",
        "PLOTPP",
        {
            "N": 4,  # prompts, and M views
            "M": 4,
            "N_CTX_V": 2,  # tokens of a view
            "EPS": 0.1,
            "MAX_ITER": 100,
            "THRESH": 0.01,
            "MODEL_UPD": "joint",
            "TRADE_OFF": False,
            "TWO_STAGES": True,
            "PRETRAIN_DIR": "",  # a finished first stage, instead of an own one
            "PREC": "fp16",
            # What official command lines set: the length of the context comes from the phrases, the rest has one value.
            "N_CTX": 4,
            "CSC": False,
            "CTX_INIT": True,
            "CLASS_TOKEN_POSITION": "end",
        },
        public_draws=True,
    ),
    "ProDA": Entry(
        "trainers.proda",
        "PRODA",
        {"N_CTX": 16, "N_PROMPT": 32, "PROMPT_BS": 4, "LAMBDA": 0.1, "PREC": "fp16"},
    ),
    "TipAdapter": Entry("trainers.tipadapter", "TIPADAPTER", _TIP_ADAPTER),
    "TipAdapterF": Entry("trainers.tipadapter", "TIPADAPTER", _TIP_ADAPTER),
    "LinearProbe": Entry(
        "trainers.linearprobe",
        "LINEARPROBE",
        {
            "SEARCH_STEPS": 8,
            "SAMPLING": "run",  # the run's few-shot draw, as all methods; official: that of lpclip
            "SELECTION": "val",
            "PREC": "fp16",
        },
    ),
    "TCP": Entry("trainers.tcp", "COOP", _COOP, public_draws=True),
    # Official configurations have CTX_INIT, and nothing reads it.
    "RPO": Entry("trainers.rpo", "RPO", {"K": 24, "CTX_INIT": "", "PREC": "fp16"}, public_draws=True),
    "MultiModalAdapter": Entry(
        "trainers.mma",
        "MMADAPTER",
        {
            "TEXT_CTX_INIT": "a photo of a",
            "ADAPTER_START": 5,
            "ADAPTER_END": 12,
            "ADAPTER_DIM": 32,
            "ADAPTER_SCALE": 0.001,
            "PREC": "amp",
        },
        public_draws=True,
    ),
    "MaPLe": Entry(
        "trainers.maple",
        "MAPLE",
        {"N_CTX": 2, "CTX_INIT": "a photo of a", "PROMPT_DEPTH": 9, "PREC": "fp16"},
        public_draws=True,
    ),
    "PromptSRC": Entry(
        "trainers.promptsrc",
        "PROMPTSRC",
        {
            "N_CTX_VISION": 4,
            "N_CTX_TEXT": 4,
            "CTX_INIT": "a photo of a",
            "PROMPT_DEPTH_VISION": 9,
            "PROMPT_DEPTH_TEXT": 9,
            "TEXT_LOSS_WEIGHT": 25.0,
            "IMAGE_LOSS_WEIGHT": 10.0,
            "GPA_MEAN": 15.0,
            "GPA_STD": 1.0,
            "PREC": "fp16",
        },
        public_draws=True,
    ),
    "ProVP": Entry(
        "trainers.provp",
        "PROVP",
        {"N_CTX": 16, "USE_REF": True, "SELECT_ON_TEST": False, "PREC": "fp16"},
        public_draws=True,
    ),
    "Meta_B2N": Entry(
        "trainers.metaprompt",
        "META",
        {"N_CTX": 2, "N_PRO": 2, "LAYERS": 12, "META_STEP": 0.2, "RESTORE_AFTER_EACH_HALF": False, "PREC": "fp16"},
        public_draws=True,
    ),
    "ZeroshotCLIP": Entry("trainers.zsclip"),
    "ZeroshotCLIP2": Entry("trainers.zsclip"),
}

# Other names of methods, official or short; train.py takes both.
ALIASES = {"CLIP_Adapter": "CLIPAdapter", "PLOTPP": "PLOT", "MMA": "MultiModalAdapter", "MetaPrompt": "Meta_B2N"}


def extend_cfg(cfg: Any, trainer: str = "") -> None:
    """Add every method's node and the keys that the CoOp family shares to Dassl's defaults, and those it lacks.

    For a ``trainer`` that is not ours also what its file's ``extend_cfg`` adds. Raises as ``foreign.module`` does.
    ``TASK`` is the protocol: B2N (base to new), CD (cross-dataset and domain generalisation), FS (few-shot).
    """
    engine.add_keys(cfg)
    cfg.TASK = "B2N"
    # Initial tensors and random stream of the public code, None: where they are known (docs/coming-from-coop.md).
    cfg.OFFICIAL_STREAM = None
    cfg.TRAINER.COMPILE = False  # torch.compile for the training step
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    cfg.DATASET.TEMPLATE = ""  # of the prompts, such as "a photo of a {}."; empty: the data set's own
    # The user's own data (docs/own-data.md): its folder in ROOT or absolute, and files in that folder or absolute.
    cfg.DATASET.FOLDER = ""
    cfg.DATASET.TABLE = ""
    cfg.DATASET.CLASSNAMES = ""
    # ProGrad's official node: the loss's name, the teacher's temperature, the projection's strength.
    cfg.LOSS = CfgNode({"NAME": "prograd", "T": 1.0, "LAMBDA": 1.0})
    for entry in METHODS.values():
        if entry.node:
            cfg.TRAINER[entry.node] = CfgNode(dict(entry.defaults))
    if is_foreign(trainer):
        getattr(foreign.module(trainer), "extend_cfg", lambda _: None)(cfg)


def merge_from_file(cfg: Any, path: str) -> None:
    """Merge a YAML file and those that it builds on (``_BASE_``) into ``cfg``, as ``cfg.merge_from_file`` merges one.

    For train scripts of the CoOp family. Raises as ``config_files.with_bases`` and yacs do.
    """
    for _, content in config_files.with_bases(path):
        cfg.merge_from_other_cfg(CfgNode(content))


def is_foreign(name: str) -> bool:
    """Whether a file in this folder has a trainer of this name that is none of the methods."""
    return bool(name) and name not in METHODS and name not in ALIASES and name in foreign.find()


def draws_as_public_code(cfg: Any) -> bool:
    """Whether it is known what the public code of this run's method draws."""
    if cfg.TRAINER.NAME not in METHODS:
        return False
    entry = METHODS[cfg.TRAINER.NAME]
    return entry.public_draws(cfg.TRAINER[entry.node]) if callable(entry.public_draws) else entry.public_draws


def load(name: str) -> Any:
    """The trainer class registered under ``name``.

    Raises ValueError naming the known methods, for one of ours without a row in ``METHODS``, and as
    ``foreign.module`` does.
    """
    if name in METHODS:
        return getattr(import_module(METHODS[name].module), name)
    if not is_foreign(name):
        raise ValueError(f"unknown trainer {name!r}: the methods are {', '.join(METHODS)}")
    found = getattr(foreign.module(name), name)
    if hasattr(found, "build_method"):
        raise ValueError(f"{name} is a CLIPTrainer without a row in trainers.METHODS: docs/adding-a-method.md, step 2")
    return found
