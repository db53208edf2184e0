"""The methods. A new one is a file here, its settings in ``settings``, configurations, a row in ``METHODS``.

Nothing of this needs torch, so that a run's configuration is resolved, and a finished run recognised, at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from yacs.config import CfgNode

from . import plugins, settings
from .shared import config_files, engine, foreign, images
from .shared.settings import Settings


class Entry(NamedTuple):
    """The module of a method, in which a trainer class has the method's name, and its settings."""

    module: str
    settings: type[Settings] = Settings

    @property
    def node(self) -> str:
        """Return the name of the settings' node below TRAINER, "" for a method without settings."""
        return self.settings.path.removeprefix("TRAINER.")


METHODS = {
    "CoOp": Entry("trainers.coop", settings.CoOpSettings),
    "CoCoOp": Entry("trainers.cocoop", settings.CoCoOpSettings),
    "KgCoOp": Entry("trainers.kgcoop", settings.KgCoOpSettings),
    "ProGrad": Entry("trainers.prograd", settings.ProGradSettings),
    "MMRL": Entry("trainers.mmrl", settings.MMRLSettings),
    "MMRLpp": Entry("trainers.mmrlpp", settings.MMRLppSettings),
    "ALIGNEDNORM": Entry("trainers.alignednorm", settings.AlignedNormSettings),
    "CLIPAdapter": Entry("trainers.clipadapter", settings.CLIPAdapterSettings),
    "PLOT": Entry("trainers.plot", settings.PLOTSettings),
    "ProDA": Entry("trainers.proda", settings.ProDASettings),
    "TipAdapter": Entry("trainers.tipadapter", settings.TipAdapterSettings),
    "TipAdapterF": Entry("trainers.tipadapter", settings.TipAdapterSettings),
    "LinearProbe": Entry("trainers.linearprobe", settings.LinearProbeSettings),
    "TCP": Entry("trainers.tcp", settings.TCPSettings),
    "RPO": Entry("trainers.rpo", settings.RPOSettings),
    "MultiModalAdapter": Entry("trainers.mma", settings.MMASettings),
    "MultiModalAdapterPP": Entry("trainers.mmapp", settings.MMAppSettings),
    "MaPLe": Entry("trainers.maple", settings.MaPLeSettings),
    "PromptSRC": Entry("trainers.promptsrc", settings.PromptSRCSettings),
    "ProVP": Entry("trainers.provp", settings.ProVPSettings),
    "Meta_B2N": Entry("trainers.metaprompt", settings.MetaPromptSettings),
    "TaskRes": Entry("trainers.taskres", settings.TaskResSettings),
    "ADAPTER": Entry("trainers.clap", settings.AdapterSettings),
    "CLIP_LoRA": Entry("trainers.cliplora", settings.CLIPLoRASettings),
    "LinearProbe_P2": Entry("trainers.lpplusplus", settings.LPppSettings),
    "TwoSFS": Entry("trainers.twosfs", settings.TwoSFSSettings),
    "ProLIP": Entry("trainers.prolip", settings.ProLIPSettings),
    "ZeroshotCLIP": Entry("trainers.zsclip"),
    "ZeroshotCLIP2": Entry("trainers.zsclip"),
}

# Other names of methods, official or short; train.py takes both.
ALIASES = {
    "AlignedNorm": "ALIGNEDNORM",
    "CLAP": "ADAPTER",
    "CLIP_Adapter": "CLIPAdapter",
    "MMA": "MultiModalAdapter",
    "MMApp": "MultiModalAdapterPP",
    "MetaPrompt": "Meta_B2N",
    "PLOTPP": "PLOT",
    "ZSLP": "ADAPTER",
    "CLIPLoRA": "CLIP_LoRA",
    "LPpp": "LinearProbe_P2",
    "2SFS": "TwoSFS",
}
# What some of these names say beside the method: settings, which count as the command line's.
OF_ALIAS = {
    "CLAP": {"TRAINER.ADAPTER.CONSTRAINT": "l2"},
    "ZSLP": {"TRAINER.ADAPTER.CONSTRAINT": "none"},
}


def extend_cfg(cfg: Any, trainer: str = "") -> None:
    """Add every method's node and the keys that the CoOp family shares to Dassl's defaults, and those it lacks.

    For a ``trainer`` that is not ours also what its file's ``extend_cfg`` adds. Raises as ``foreign.module`` does.
    ``TASK`` is the protocol: B2N (base to new), CD (cross-dataset and domain generalisation), FS (few-shot), JOINT
    (base and new classes in one label space).
    """
    engine.add_keys(cfg)
    cfg.TASK = "B2N"
    # Initial tensors and random stream of the public code, None: where they are known (docs/coming-from-coop.md).
    cfg.OFFICIAL_STREAM = None
    cfg.TRAINER.COMPILE = False  # torch.compile for the training step
    cfg.TRAINER.CUDA_GRAPHS = True  # on CUDA, replay training steps of one shape (docs/speed.md)
    cfg.TRAINER.PLUGINS = []  # what stands around the method, in this order (``plugins``)
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    cfg.DATASET.TEMPLATE = ""  # of the prompts, such as "a photo of a {}."; empty: the data set's own
    # The user's own data (docs/your-own-data.md): its folder in ROOT or absolute, and files in that folder or absolute.
    cfg.DATASET.FOLDER = ""
    cfg.DATASET.TABLE = ""
    cfg.DATASET.CLASSNAMES = ""
    cfg.DATASET.ALL_TRAIN = False  # train on all of them but those for validation; none are left to test on
    # Features of the frozen image tower computed once, as VIEWS fixed views of an image (docs/features.md).
    cfg.FEATURES = CfgNode({"ONCE": False, "VIEWS": 1, "FOLDER": "", "MAX_GB": 10.0})
    cfg.LOSS = CfgNode(settings.ProGradLoss.defaults())
    for entry in METHODS.values():
        if entry.node:
            cfg.TRAINER[entry.node] = CfgNode(entry.settings.defaults())
    for plugin in plugins.PLUGINS.values():
        cfg.TRAINER[plugin.node] = CfgNode(plugin.settings.defaults())
    if is_foreign(trainer):
        getattr(foreign.module(trainer), "extend_cfg", lambda _: None)(cfg)


def merge_from_file(cfg: Any, path: str) -> None:
    """Merge a YAML file and those that it builds on (``_BASE_``) into ``cfg``, as ``cfg.merge_from_file`` merges one.

    For train scripts of the CoOp family. Raises as ``config_files.with_bases`` and yacs do.
    """
    for _, content in config_files.with_bases(path):
        cfg.merge_from_other_cfg(CfgNode(content))


def full_title(name: str) -> str:
    """Return a method's registered name and its plug-ins': of ``MMA+DePT`` that is ``MultiModalAdapter+DePT``."""
    method, names = plugins.split_title(name)
    return "+".join([ALIASES.get(method, method), *names])


def is_foreign(name: str) -> bool:
    """Return whether a file in this folder has a trainer of this name that is none of the methods."""
    return bool(name) and name not in METHODS and name not in ALIASES and name in foreign.find()


def draws_as_public_code(cfg: Any) -> bool:
    """Return whether it is known what the public code of this run's method draws, around a CLIP."""
    if cfg.TRAINER.NAME not in METHODS or not plugins.draws_as_public_code(cfg):
        return False
    entry = METHODS[cfg.TRAINER.NAME]
    if not entry.settings.has_public_draws(cfg.TRAINER[entry.node] if entry.node else {}):
        return False
    known = images.describe(cfg.MODEL.BACKBONE.NAME)
    return not (known and known.foreign)


def load(name: str) -> Any:
    """Return the trainer class registered under ``name``.

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
