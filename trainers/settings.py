"""The settings of the methods: their defaults, which are those of the papers, and the values that are allowed.

A class is the node of a configuration that its keyword ``path`` names. YAML files and the command line fill the node,
and the trainer reads an instance. What only CLIP or the data can refuse is checked where the method is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .shared.settings import Node, Rules, Settings, at_least, checked, choice, chosen, only, share

PHRASE = "a photo of a"
MOST_WORDS = 4  # deep text prompts: with more tokens the official codes draw all and leave CTX_INIT aside


@dataclass(frozen=True)
class VectorSettings(Settings, public_draws=True):
    """M learned vectors in the place of a prompt's words."""

    n_ctx: int = 16
    ctx_init: Any = None

    @property
    def words(self) -> str:
        """Return the words that the vectors start from (underscores are spaces), or "" where they are drawn."""
        return " ".join((self.ctx_init or "").replace("_", " ").split())

    @property
    def length(self) -> int:
        """Return M: one vector for each word, or N_CTX."""
        return len(self.words.split()) or self.n_ctx

    def rules(self) -> Rules:
        yield from super().rules()
        yield self.length >= 1, f"N_CTX must be at least 1, not {self.length}"

    def unread(self) -> str:
        if self.n_ctx == self.length:
            return ""
        made = f"{self.key('CTX_INIT')} makes {self.length} vectors, of {self.words!r}"
        return f"{made}: {self.key('N_CTX')} {self.n_ctx} has no effect"


@dataclass(frozen=True)
class CoCoOpSettings(VectorSettings, path="TRAINER.COCOOP"):
    """CoCoOp's settings."""

    ctx_init: Any = ""


@dataclass(frozen=True)
class ContextSettings(VectorSettings, path="TRAINER.COOP"):
    """CoOp's node, which others have taken over.

    ``csc``: each class has its own vectors. ``ctx_init``: the words that the vectors start from (CoOp), or whether to
    start from the data set's or the method's own phrase (KgCoOp, ProGrad, TCP); None, or "", draws. ``w`` is KgCoOp's
    weight.
    """

    csc: bool = False
    class_token_position: str = choice("end", "middle", "front")  # of the class name: after, amid, before the vectors
    w: float = 1.0

    def rules(self) -> Rules:
        yield from super().rules()
        line = f"CSC True needs random vectors: set CSC False, or leave {self.key('CTX_INIT')} empty"
        yield not (self.csc and (self.words or self.ctx_init is True)), line


@dataclass(frozen=True)
class CoOpSettings(ContextSettings):
    """CoOp's settings."""

    def rules(self) -> Rules:
        words = self.ctx_init or ""
        line = f"CTX_INIT must be words, such as 'a photo of a', or '' for random vectors, not {words!r}"
        yield isinstance(words, str), line
        yield from super().rules()


@dataclass(frozen=True)
class ProGradSettings(ContextSettings):
    """ProGrad's settings; CTX_INIT True starts from words of the data set's template."""

    phrase: ClassVar[str] = ""  # which says the same as True

    @property
    def words(self) -> str:
        """Return "": the words are not known without the data set."""
        return ""

    def rules(self) -> Rules:
        switch = self.ctx_init or False
        line = f"CTX_INIT must be True (start from words) or False (draw), not {switch!r}"
        yield isinstance(switch, bool) or switch == self.phrase, line
        yield from super().rules()


@dataclass(frozen=True)
class ProGradLoss(Node, path="LOSS"):
    """ProGrad's official second node: the loss's name, the teacher's temperature, the projection's strength."""

    name: str = checked("prograd", lambda name: name == "prograd", "must be prograd, not {!r}")
    t: float = checked(1.0, lambda t: t > 0, "must be above 0, not {}")
    lambda_: float = share(1.0)


@dataclass(frozen=True)
class KgCoOpSettings(ProGradSettings):
    """KgCoOp's settings; CTX_INIT True starts from the method's phrase."""

    phrase: ClassVar[str] = PHRASE
    w: float = at_least(0, 1.0)

    @property
    def words(self) -> str:
        """Return the phrase, whatever the data set."""
        return self.phrase if self.ctx_init else ""


@dataclass(frozen=True)
class TCPSettings(KgCoOpSettings):
    """TCP's settings; ``w`` is not read."""

    vectors: ClassVar[int] = 4
    w: float = 1.0

    def rules(self) -> Rules:
        yield from super().rules()
        wanted = {"N_CTX": self.vectors, "CSC": False, "CLASS_TOKEN_POSITION": "end"}
        for key, value in wanted.items():
            given = self.values()[key]
            yield given == value, f"{key} must be {value} for TCP, not {given}"


@dataclass(frozen=True)
class RepresentationSettings(Settings):
    """What MMRL and MMRL++ share: alpha, lambda, the layers J..L, d_r, K, and how the two scores are mixed.

    Layers count from 1, or from the end: (-3, -2, -1) are the last three of each tower, however deep it is.
    """

    alpha: float = share(0.7)
    reg_weight: float = at_least(0, 0.5)  # lambda; per data set in configs/trainers/MMRL/datasets.yaml
    rep_layers: tuple[int, ...] = checked(
        (6, 7, 8, 9, 10, 11, 12), len, "is empty: give the layers J to L, such as [6, 7, 8, 9, 10, 11, 12]"
    )
    rep_dim: int = at_least(1, 512)
    n_rep_tokens: int = at_least(1, 5)
    fusion: str = choice("probs", "logits")
    prec: str = field(default="amp", kw_only=True)

    def lower(self, depth: int) -> int:
        """Return how many layers of a tower of this depth come before J."""
        first = self.rep_layers[0]
        return depth + first if first < 0 else first - 1


@dataclass(frozen=True)
class MMRLSettings(RepresentationSettings, path="TRAINER.MMRL"):
    """MMRL's settings, with the ablations of the paper's Tables 4 and 9 (docs/ablations.md)."""

    variants: ClassVar[tuple[str, ...]] = ("full", "wo_L", "wo_V", "wo_RS", "biased", "wo_DS1", "wo_DS2")
    variant: str = checked(variants[0], variants.__contains__, f"must be one of {', '.join(variants)}, not {{!r}}")
    regularizer: str = choice("cos", "l1", "mse")

    @classmethod
    def has_public_draws(cls, node: Mapping[str, Any]) -> bool:
        """Return whether the variant is trained as the full model is; the others have no public code."""
        return trained_as(node["VARIANT"]) == "full"

    def both_score(self, seen: bool) -> bool:
        """Return whether both features score these classes, or the class feature alone (paper, Figure 3; Table 4)."""
        return {"wo_V": False, "wo_DS1": False, "wo_DS2": True}.get(self.variant, seen)


def trained_as(variant: str) -> str:
    """Return the variant of MMRL that a variant is trained as: two differ from the full model at test time only."""
    return "full" if variant in ("wo_DS1", "wo_DS2") else variant


@dataclass(frozen=True)
class MMRLppSettings(RepresentationSettings, path="TRAINER.MMRLpp", public_draws=True):
    """MMRL++'s settings: MMRL's without ablations, beta, and the ranks of the maps' and of the projection's residuals.

    ``target_beta``: pairs of a data set and its beta, for cross-dataset runs with BETA_AT_TEST target.
    """

    variant: ClassVar[str] = "full"
    regularizer: ClassVar[str] = "cos"
    reg_weight: float = at_least(0, 0.2)
    fusion: str = choice("probs", "logits", default="logits")
    beta: float = share(0.9)  # per data set in configs/trainers/MMRLpp/datasets.yaml, as is lambda
    res_lora_dim: int = at_least(1, 4)
    proj_lora_dim: int = at_least(1, 64)
    beta_at_test: str = choice("training", "target")
    target_beta: tuple[Any, ...] = ()

    def rules(self) -> Rules:
        yield from super().rules()
        for entry in self.target_beta:
            pair = isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[1], int | float)
            line = f"TARGET_BETA holds pairs of a dataset and a beta in [0, 1], not {entry!r}"
            yield pair and 0 <= entry[1] <= 1, line

    def both_score(self, seen: bool) -> bool:
        """Return whether both features score these classes: those trained on."""
        return seen


@dataclass(frozen=True)
class AlignedNormSettings(MMRLppSettings, path="TRAINER.ALIGNEDNORM"):
    """AlignedNorm's settings: MMRL++'s, and the weights of the two terms that align norms.

    Per data set, as beta and lambda, in configs/trainers/ALIGNEDNORM/datasets.yaml.
    """

    final_norm: float = at_least(0, 0.1)
    seq_norm: float = at_least(0, 0.1)

    def both_score(self, seen: bool) -> bool:
        """Return True: both features score all classes."""
        return True


@dataclass(frozen=True)
class CLIPAdapterSettings(Settings, path="TRAINER.CLIPADAPTER", public_draws=True):
    """CLIP-Adapter's settings: r, and how much narrower than the features the bottleneck is."""

    ratio: float = share(0.2)
    reduction: int = 4
    prec: str = field(default="fp32", kw_only=True)


@dataclass(frozen=True)
class PLOTSettings(Settings, path="TRAINER.PLOTPP", public_draws=True):
    """PLOT++'s settings: N prompts, M views of K tokens, Sinkhorn's numbers, and the two stages."""

    n: int = checked(4, range(1, 5).__contains__, "must be 1 to 4, the phrases of a data set, not {}")
    m: int = at_least(1, 4)
    n_ctx_v: int = at_least(1, 2)  # K
    eps: float = 0.1
    max_iter: int = 100
    thresh: float = 0.01
    model_upd: str = chosen("joint", "vision")
    trade_off: bool = False
    two_stages: bool = True
    pretrain_dir: str = ""  # a finished first stage, instead of an own one
    # What official command lines set: the length of the context comes from the phrases, the rest has one value.
    n_ctx: int = 4
    csc: bool = only(False)
    ctx_init: bool = only(True)
    class_token_position: str = only("end")


@dataclass(frozen=True)
class ProDASettings(Settings, path="TRAINER.PRODA"):
    """ProDA's settings: n vectors, K prompts, b of them in a step, and the weight of their cosines."""

    n_ctx: int = at_least(1, 16)
    n_prompt: int = at_least(1, 32)
    prompt_bs: int = at_least(1, 4)
    lambda_: float = at_least(0, 0.1)

    def rules(self) -> Rules:
        yield from super().rules()
        line = f"N_PROMPT must be a multiple of PROMPT_BS, not {self.n_prompt} for {self.prompt_bs}"
        yield self.n_prompt % self.prompt_bs == 0, line


def _positive_pair(pair: tuple[float, ...]) -> bool:
    return len(pair) == 2 and min(pair) > 0


@dataclass(frozen=True)
class TipAdapterSettings(Settings, path="TRAINER.TIPADAPTER"):
    """The settings of Tip-Adapter and Tip-Adapter-F."""

    needs_validation = True
    augment_epoch: int = at_least(1, 10)
    init_beta: float = 1.0  # per data set in configs/trainers/TipAdapter/datasets.yaml, as are the next two
    init_alpha: float = 1.17
    search_scale: tuple[float, ...] = checked((7.0, 3.0), _positive_pair, "must be two positive numbers, not {}")
    search_step: tuple[int, ...] = checked((200, 20), _positive_pair, "must be two positive numbers, not {}")
    search_hp: bool = True
    selection: str = chosen("val", "few_shot_val", "test_as_published", between=", ")


@dataclass(frozen=True)
class LinearProbeSettings(Settings, path="TRAINER.LINEARPROBE"):
    """Linear-probe CLIP's settings; SAMPLING run is the few-shot draw of all methods, official that of lpclip.

    C is the inverse strength of the regulariser; 0: it is searched on validation images.
    """

    needs_validation = True
    c: float = at_least(0, 0.0)
    search_steps: int = at_least(0, 8)
    sampling: str = chosen("run", "official")
    selection: str = chosen("val", "test_as_published")


@dataclass(frozen=True)
class RPOSettings(Settings, path="TRAINER.RPO", public_draws=True):
    """RPO's settings: K pairs. Official configurations have CTX_INIT, and nothing reads it."""

    k: int = at_least(1, 24)
    ctx_init: str = ""

    def unread(self) -> str:
        line = f"{self.key('CTX_INIT')} {self.ctx_init!r} has no effect: DATASET.TEMPLATE makes the prompts"
        return line if self.ctx_init else ""


def above_zero(default: float) -> Any:
    """Return a field with positive values."""
    return checked(default, lambda value: value > 0, "must be more than 0, not {}")


@dataclass(frozen=True)
class AdaptedTowersSettings(Settings, public_draws=True):
    """What MMA and MMA++ share: first and last layer with an adapter (from 1), and r."""

    adapter_start: int = at_least(1, 5)
    adapter_end: int = 12
    adapter_dim: int = at_least(1, 32)
    prec: str = field(default="amp", kw_only=True)

    def rules(self) -> Rules:
        yield from super().rules()
        start, end = self.adapter_start, self.adapter_end
        yield end >= start, f"ADAPTER_END is {end}, before ADAPTER_START {start}"


@dataclass(frozen=True)
class MMASettings(AdaptedTowersSettings, path="TRAINER.MMADAPTER"):
    """MMA's settings: s, and the words before the class name."""

    adapter_scale: float = above_zero(0.001)
    text_ctx_init: str = PHRASE


@dataclass(frozen=True)
class MMAppSettings(AdaptedTowersSettings, path="TRAINER.MMADAPTERPP"):
    """MMA++'s settings: s in training and in tests, rho, the share of dropout, and where texts come from.

    ``input_prompts``: hc (CLIP's 80 templates of ImageNet) or cupl (class descriptions). ``descriptions``: their file,
    or a folder with one per data set, in DATASET.ROOT or absolute (``trainers.shared.descriptions``). Official
    configurations have TEXT_CTX_INIT, and nothing reads it.
    """

    adapter_train_scale: float = above_zero(0.01)
    adapter_train_scale_reg: float = at_least(0, 2.5)
    adapter_test_scale: float = above_zero(0.0065)
    adapter_drop: float = checked(0.2, lambda p: 0 <= p < 1, "must be at least 0 and less than 1, not {}")
    input_prompts: str = choice("hc", "cupl")
    descriptions: str = checked("gpt3_prompts", bool, "is empty: name a file or a folder")
    text_ctx_init: str = ""

    def unread(self) -> str:
        if not self.text_ctx_init:
            return ""
        said = f"{self.key('TEXT_CTX_INIT')} {self.text_ctx_init!r}"
        return f"{said} has no effect: {self.key('INPUT_PROMPTS')} says the texts"


def words_of_deep_text(ctx_init: str, n_ctx: int) -> str:
    """Return the words whose embeddings ``n_ctx`` deep text prompts start from, or "" where these are drawn."""
    return "" if n_ctx > MOST_WORDS else ctx_init.replace("_", " ").strip()


def _unread_words(settings: Settings, ctx_init: str, name: str, n_ctx: int) -> str:
    if not ctx_init or n_ctx <= MOST_WORDS:
        return ""
    reason = f"with {name} {n_ctx}, more than {MOST_WORDS}, all are drawn"
    return f"{settings.key('CTX_INIT')} {ctx_init!r} has no effect: {reason}"


@dataclass(frozen=True)
class MaPLeSettings(Settings, path="TRAINER.MAPLE", public_draws=True):
    """MaPLe's settings: K, the words before the class name, of which the first K are learned, and J."""

    n_ctx: int = at_least(1, 2)
    ctx_init: str = PHRASE
    prompt_depth: int = 9

    def unread(self) -> str:
        return _unread_words(self, self.ctx_init, "N_CTX", self.n_ctx)


@dataclass(frozen=True)
class PromptSRCSettings(Settings, path="TRAINER.PROMPTSRC", public_draws=True):
    """PromptSRC's settings: K and J of each tower, the text's words, weights of the L1 terms, and of the epochs."""

    n_ctx_vision: int = at_least(1, 4)
    n_ctx_text: int = at_least(1, 4)
    prompt_depth_vision: int = 9
    prompt_depth_text: int = 9
    ctx_init: str = PHRASE
    text_loss_weight: float = at_least(0, 25.0)
    image_loss_weight: float = at_least(0, 10.0)
    gpa_mean: float = 15.0
    gpa_std: float = checked(1.0, lambda std: std > 0, "must be above 0, not {}")

    def unread(self) -> str:
        return _unread_words(self, self.ctx_init, "N_CTX_TEXT", self.n_ctx_text)


@dataclass(frozen=True)
class ProVPSettings(Settings, path="TRAINER.PROVP", public_draws=True):
    """ProVP's settings: P, whether the second term counts, and whether the best epoch is chosen on the test set."""

    n_ctx: int = at_least(1, 16)
    use_ref: bool = True
    select_on_test: bool = False


@dataclass(frozen=True)
class MetaPromptSettings(Settings, path="TRAINER.META", public_draws=True):
    """MetaPrompt's settings: K of the text, K of images, J, and the step across classes."""

    n_ctx: int = at_least(1, 2)
    n_pro: int = at_least(1, 2)
    layers: int = 12
    meta_step: float = at_least(0, 0.2)
    restore_after_each_half: bool = False


@dataclass(frozen=True)
class TaskResSettings(Settings, path="TRAINER.TaskRes", public_draws=True):
    """TaskRes' settings: a, and the checkpoint of an enhanced base ("none": CLIP's own)."""

    residual_scale: float = 1.0
    enhanced_base: str = checked("none", bool, "must be none or a file, not {!r}")
    prec: str = field(default="fp32", kw_only=True)


@dataclass(frozen=True)
class AdapterSettings(Settings, path="TRAINER.ADAPTER", public_draws=True):
    """Settings of CLAP and ZS-LP: where class weights start, what holds them there, passes over the training images."""

    init: str = checked("ZS", lambda init: init == "ZS", "must be ZS, not {!r}: no other start is built in")
    constraint: str = choice("l2", "none")  # CLAP or ZS-LP
    epochs_augmentation: int = at_least(1, 20)  # literal in the release
    prec: str = field(default="fp32", kw_only=True)


@dataclass(frozen=True)
class CLIPLoRASettings(Settings, path="TRAINER.CLIPLORA", public_draws=True):
    """CLIP-LoRA's settings: which projections of which layers learn, r, alpha, the dropout, and the steps per shot.

    ``params``: q, k, v, and o for the output's. ``n_iters``: 0 trains for OPTIM.MAX_EPOCH epochs instead.
    """

    encoder: str = choice("both", "text", "vision")
    position: str = choice("all", "bottom", "mid", "up", "half-up", "half-bottom", "top3")
    params: tuple[str, ...] = checked(
        ("q", "k", "v"), lambda params: params and set(params) <= {*"qkvo"}, "must be some of q, k, v, o, not {}"
    )
    r: int = at_least(1, 2)
    alpha: int = 1
    dropout_rate: float = checked(0.25, lambda rate: 0 <= rate < 1, "must lie in [0, 1), not {}")
    n_iters: int = at_least(0, 500)
    prec: str = field(default="amp", kw_only=True)


@dataclass(frozen=True)
class LPppSettings(Settings, path="TRAINER.LPPP"):
    """LP++'s settings: its steps on all training images at once, and whether validation images choose among them."""

    train_epoch: int = at_least(1, 300)
    selection: str = chosen("val", "last")


@dataclass(frozen=True)
class TwoSFSSettings(Settings, path="TRAINER.TWOSFS"):
    """2SFS's settings: the steps per shot, and the share of them that the first stage has (1: there is no second).

    ``n_iters``: 0 trains for OPTIM.MAX_EPOCH epochs instead.
    """

    n_iters: int = at_least(0, 300)
    n_iters_frac: float = share(0.6)
    prec: str = field(default="amp", kw_only=True)


@dataclass(frozen=True)
class ProLIPSettings(Settings, path="TRAINER.PROLIP"):
    """ProLIP's settings: lambda (1/N and 1/N^2 of N shots, or a number), the search, the precision of updates."""

    lambda_v: float = at_least(0, 0.0)
    lambda_funct_1_n: bool = True
    lambda_funct_1_n2: bool = False
    search_lr: bool = False  # and lambda
    half_updates: bool = False

    def penalty(self, shots: float) -> float:
        """Return lambda for so many images per class."""
        if self.lambda_funct_1_n or self.lambda_funct_1_n2:
            return 1 / shots if self.lambda_funct_1_n else 1 / shots**2
        return self.lambda_v

    def rules(self) -> Rules:
        """Yield that there is one lambda, and a precision that half-precision updates can have."""
        yield from super().rules()
        line = "LAMBDA_FUNCT_1_N and LAMBDA_FUNCT_1_N2 exclude each other: set one of them to False"
        yield not (self.lambda_funct_1_n and self.lambda_funct_1_n2), line
        line = "HALF_UPDATES cannot be had with PREC amp, whose loss scaling needs float32: take PREC fp16"
        yield not (self.half_updates and self.prec == "amp"), line

    def unread(self) -> str:
        """Name LAMBDA_V where lambda follows from the number of shots."""
        if not self.lambda_v or not (self.lambda_funct_1_n or self.lambda_funct_1_n2):
            return ""
        other = self.key("LAMBDA_FUNCT_1_N" if self.lambda_funct_1_n else "LAMBDA_FUNCT_1_N2")
        return f"{self.key('LAMBDA_V')} {self.lambda_v} has no effect: lambda follows from the shots by {other}"
