"""Every bad input of a user of train.py: how it comes about, and the exact line that it comes to.

Where a line ends in ``...`` the rest is in the words of torch or of Pillow, or a number that rounding decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e import mishaps
from tests.e2e.mishaps import METHOD, MODEL, Stage, nothing

FEW = ("DATASET.NUM_SHOTS", "2")  # where images are looked at before the line comes
QUICK = ("OPTIM.MAX_EPOCH", "1", *FEW)
EVALUATE = ("--eval-only", "--model-dir")
CLIPS = "give a CLIP, such as ViT-B/16, open_clip:ViT-B-16/laion2b_s34b_b88k or hf:openai/clip-vit-base-patch16"


@dataclass(frozen=True)
class Case:
    """Options (``{tmp}`` is ``Place.folder``, ``{data}`` and ``{configs}`` as well), what befalls, and the line."""

    name: str
    line: str
    options: tuple[str, ...] = ()
    stage: Stage = nothing
    dataset: str = "digits"
    method: str = "MMRL"


def of_options() -> list[Case]:
    """Settings and arguments."""

    def case(line: str, *options: str) -> Case:
        return Case(" ".join(options), line, options)

    def of_model(line: str, *options: str) -> Case:
        return Case(" ".join(options), line, (*options, *FEW))

    layers, k = "TRAINER.MMRL.REP_LAYERS", "TRAINER.MMRL.N_REP_TOKENS"
    return [
        of_model(
            "'ViT-B/61' is neither a CLIP model nor a weights file; did you mean 'ViT-B/16'? Models: RN50, RN101, "
            "RN50x4, RN50x16, RN50x64, ViT-B/32, ViT-B/16, ViT-L/14, ViT-L/14@336px, embedded, "
            "open_clip:ARCH/PRETRAINED, hf-hub:OWNER/NAME, or hf:OWNER/NAME",
            *("MODEL.BACKBONE.NAME", "ViT-B/61"),
        ),
        of_model(
            "'hf:clip' names no model of the hub: give hf:OWNER/NAME or hf:OWNER/NAME@REVISION",
            *("MODEL.BACKBONE.NAME", "hf:clip"),
        ),
        of_model(f"{{tmp}} has no config.json, so it is not a Hugging Face model: {CLIPS}", "--backbone", "{tmp}"),
        case("command line: OPTIM.LR must be a finite number, not '1e999'", "OPTIM.LR", "1e999"),
        case("--model-dir: there is no folder {tmp}/none", *EVALUATE, "{tmp}/none"),
        case("--resume: there is no folder {tmp}/none", "--resume", "{tmp}/none"),
        of_model("--eval-only needs --model-dir: MMRL has something to learn", "--eval-only"),
        case(
            f"no checkpoint at {{tmp}}/{METHOD}: train first, or give --model-dir and --load-epoch of a run (the "
            "folder has none)",
            *(*EVALUATE, "{tmp}", *FEW),
        ),
        case(
            "TRAIN.LOGGER wandb needs the package wandb, which is missing: pip install wandb",
            *("TRAIN.LOGGER", "wandb"),
        ),
        of_model(f"{layers} is empty: give the layers J to L, such as [6, 7, 8, 9, 10, 11, 12]", layers, "[]"),
        of_model(f"{layers} starts at layer 7, but the image tower has layers 1 to 6", layers, "[7, 8]"),
        of_model(f"{k} must be at least 1, not 0", k, "0"),
        of_model("TRAINER.MMRL.FUSION must be probs or logits, not 'both'", "TRAINER.MMRL.FUSION", "both"),
        of_model("TRAINER.MMRL.PREC is 'fp8': choose one of fp32, fp16, amp, bf16, auto", "TRAINER.MMRL.PREC", "fp8"),
        of_model(
            'embedded was trained on other images than INPUT describes: add INPUT.SIZE "(32, 32)"',
            *("INPUT.SIZE", "(40, 40)"),
        ),
        case(
            "command line: unknown key OPTIM.LRR; did you mean OPTIM.LR or OPTIM.STAGED_LR or OPTIM.LR_SCHEDULER?",
            *("OPTIM.LRR", "1"),
        ),
        case("command line: OPTIM.LR must be float, such as 0.001, not 'fast'", "OPTIM.LR", "fast"),
        case("options come as KEY VALUE pairs, and OPTIM.LR has no value", "OPTIM.LR"),
        case("--seed stands after KEY VALUE options: put it before them", "OPTIM.LR", "1", "--seed", "2"),
        case("TASK must be one of B2N, CD, FS, JOINT, not 'X'", "TASK", "X"),
        case("--official-stream (OFFICIAL_STREAM) needs a seed: add --seed 1", "--official-stream", "--seed", "-1"),
        case("OPTIM.MAX_EPOCH must be at least 1, not 0", "OPTIM.MAX_EPOCH", "0"),
        case("DATASET.NUM_SHOTS must be at least 1, or -1 for all images, not 0", "DATASET.NUM_SHOTS=0"),
        case("SEED is given twice, by --seed 1 and by SEED 7: leave one of them out", "SEED", "7"),
        Case(
            "a template as CTX_INIT",
            "TRAINER.COOP.CTX_INIT 'a photo of a {{}}.' must be the words before the class name, which follows by "
            "itself, with a full stop: write 'a photo of a'",
            ("TRAINER.COOP.CTX_INIT", "a photo of a {{}}.", *FEW),
            method="CoOp",
        ),
        Case(
            "a configuration against the checkpoint's images",
            "{tmp}/mine.yaml: INPUT.SIZE is (336, 336), but embedded was trained with (32, 32): take it out of the "
            "file, or name the weights that it fits in MODEL.BACKBONE.NAME",
            ("--config-file", "{tmp}/mine.yaml"),
            mishaps.own_yaml("INPUT: {SIZE: [336, 336]}\nMODEL: {BACKBONE: {NAME: embedded}}\n"),
        ),
        case("DATASET.SUBSAMPLE_CLASSES must be one of all, base, new, not 'old'", "DATASET.SUBSAMPLE_CLASSES", "old"),
        case("INPUT.READ must be one of stored, upright, not 'sideways'", "INPUT.READ", "sideways"),
        case("INPUT.MAX_MEGAPIXELS must be above 0, not 0.0", "INPUT.MAX_MEGAPIXELS", "0"),
        case("DATALOADER.CACHE_GB is -1.0; give 0 (no cache) or the GB to use at most", "DATALOADER.CACHE_GB", "-1"),
        case("unknown trainer MMLR; did you mean MMRL or MMRLpp?", "--trainer", "MMLR"),
        case("no configuration file {tmp}/none.yaml; known: none", "--config-file", "{tmp}/none.yaml"),
        Case(
            "a data set that does not exist",
            "no configuration file {configs}/datasets/digit.yaml; did you mean digits.yaml or dtd.yaml or "
            "imagenet.yaml?",
            dataset="digit",
        ),
    ]


def of_data() -> list[Case]:
    """Folders, lists and images."""
    prepare = "run python mmrl.py prepare"
    image = "{data}/oxford_pets/images/2_1.jpg"
    unread = "(1 of 12 images cannot be read: mend them, or take them out of the data)"
    return [
        Case(
            "a missing root",
            "dataset root {tmp}/nowhere not found: create it, or name the folder of the datasets with --root",
            ("--root", "{tmp}/nowhere"),
        ),
        Case(
            "a missing data set",
            f"DescribableTextures: {{data}}/dtd/images not found: {prepare} dtd --root {{data}}, or put its class "
            "folders there, and split_zhou_DescribableTextures.json into {data}/dtd",
            dataset="dtd",
        ),
        Case(
            "a missing image",
            f"OxfordPets: 3 of 36 images are missing, first {image}: {prepare} oxford_pets --root {{data}}, or unpack "
            "them again",
            QUICK,
            mishaps.pet_images(mishaps.gone),
            "oxford_pets",
        ),
        Case(
            "no image",
            f"cannot read image {image}: not an image file {unread}",
            QUICK,
            mishaps.pet_images(mishaps.no_image),
            "oxford_pets",
        ),
        Case(
            "an empty image",
            f"cannot read image {image}: it is empty (0 bytes) {unread}",
            QUICK,
            mishaps.pet_images(lambda path: path.write_bytes(b"") and None),
            "oxford_pets",
        ),
        Case(
            "an image of 32 bits",
            f"cannot read image {image}: its integer pixels have no stated range, so nothing says which is white: save "
            f"it with 8 or 16 bits, or as TIFF with the tags SMinSampleValue and SMaxSampleValue {unread}",
            QUICK,
            mishaps.pet_images(mishaps.case_of("int32.tif")),
            "oxford_pets",
        ),
        Case(
            "an image of 200 megapixels",
            f"cannot read image {image}: it has 200.0 megapixels, more than the 178.957 of INPUT.MAX_MEGAPIXELS "
            "(mmrl.py predict: --max-megapixels): raise that if you trust the file, or make the image smaller "
            + unread,
            QUICK,
            mishaps.pet_images(mishaps.case_of("two_hundred_megapixels.png")),
            "oxford_pets",
        ),
        Case(
            "an image that is cut off",
            f"cannot read image {image}: ...",
            QUICK,
            mishaps.pet_images(mishaps.cut_image),
            "oxford_pets",
        ),
        Case(
            "an empty class",
            "class folder {data}/dtd/images/dotted holds no images: put them there or remove the folder",
            QUICK,
            mishaps.textures_with_an_empty_class,
            "dtd",
        ),
        Case(
            "no new classes",
            "OxfordPets: base to new needs four classes, two in each half, and the data set has 1: use all of its "
            "classes (scripts/fewshot/fewshot.sh, or TASK FS with DATASET.SUBSAMPLE_CLASSES all)",
            (*QUICK, "DATASET.SUBSAMPLE_CLASSES", "new"),
            lambda place: mishaps.pets(place, count=1) and None,
            "oxford_pets",
        ),
        Case(
            "a class name of 80 tokens",
            f"Input a photo of a {' '.join(['dog'] * 80)}, a type of pet. is too long for context length 77: shorten "
            "the class name or the template",
            QUICK,
            lambda place: mishaps.pets(place, second=" ".join(["dog"] * 80)) and None,
            "oxford_pets",
        ),
    ]


def of_own_data() -> list[Case]:
    """A user's own folders and tables."""
    mine = ("DATASET.FOLDER", "{tmp}/mine")
    return [
        Case(
            "two classes that are one to CLIP",
            "ImageFolder: the class names 'Zero' ({tmp}/mine/Zero) and 'zero' ({tmp}/mine/zero) are one to CLIP: make "
            "them one class, or give them names that differ in more than case, spaces and what cannot be seen",
            mine,
            mishaps.own_folders("Zero", "zero"),
            "imagefolder",
        ),
        Case(
            "a class folder that is not UTF-8",
            "ImageFolder: the class name 'caf\\udce9' ({tmp}/mine/caf\\udce9) is not UTF-8, so that no prompt can hold "
            "it: rename it, or give it a name in a file of class names, as caf\\udce9",
            mine,
            mishaps.own_folders("caf\udce9", "tea"),
            "imagefolder",
        ),
        Case(
            "folders of class folders",
            "ImageFolder: class folder {tmp}/mine/beasts holds folders (cat, dog) instead of images: if those are the "
            "classes, put them one level up, else their images",
            mine,
            mishaps.own_folders("beasts/cat", "beasts/dog", "plants"),
            "imagefolder",
        ),
        Case(
            "a workbook as a table",
            "{tmp}/mine/t.csv is a workbook or an archive, not a text file: save it as CSV in UTF-8",
            (*mine, "DATASET.TABLE", "t.csv"),
            mishaps.own_folders("cat", "dog", table=b"PK\x03\x04\0\0"),
            "table",
        ),
        Case(
            "a table in an old encoding",
            "{tmp}/mine/t.csv, line 2: is not UTF-8, and in Windows-1252 reads 'cat/0.png,êîò': save it as text "
            "in UTF-8",
            (*mine, "DATASET.TABLE", "t.csv"),
            mishaps.own_folders("cat", "dog", table="path,classname\ncat/0.png,кот\n".encode("cp1251")),
            "table",
        ),
        Case(
            "a folder to write into that is not UTF-8",
            "cannot write into {tmp}/r\\udce9n: its name is not UTF-8; choose another folder",
            ("--output-dir", "{tmp}/r\udce9n"),
        ),
    ]


def of_weights() -> list[Case]:
    """CLIP's files."""
    use = ("MODEL.BACKBONE.NAME", "{tmp}/weights.pt", *FEW)
    none = "{{tmp}}/weights.pt cannot be read as {}: it is damaged, incomplete or holds more than tensors ..."
    saved = none.format("a state dict saved by torch")
    more = "{{tmp}}/weights.pt holds more than tensors ({}"
    return [
        Case("no weights file", "there is no weights file {tmp}/weights.pt", use),
        Case("an empty weights file", saved, use, mishaps.weights(b"")),
        Case("a text as weights", saved, use, mishaps.weights(b"not weights")),
        Case("a cut archive as weights", none.format("a weights file"), use, mishaps.weights(b"PK\x03\x04 cut off")),
        Case("a bomb in an archive as weights", more.format("..."), use, mishaps.weights(mishaps.archive_bomb)),
        Case(
            "a namespace beside weights",
            more.format("argparse.Namespace), and objects are not unpickled: where it was made, save ..."),
            use,
            mishaps.weights(mishaps.namespace),
        ),
        Case(
            "a NaN among weights",
            "{tmp}/weights.pt: ln_final.weight holds NaN or infinity: the file is damaged, or its training diverged; "
            "get other weights",
            use,
            mishaps.weights(mishaps.embedded_with_a_nan),
        ),
        Case(
            "a SigLIP as weights",
            f"{{tmp}}/weights.pt: it is a SigLIP (text_model.head.weight), which is not computed as CLIP is: {CLIPS}",
            use,
            mishaps.weights(mishaps.tensors("text_model.head.weight", "logit_scale", "logit_bias")),
        ),
        Case(
            "learned prompts as weights",
            "{tmp}/weights.pt: it holds learned prompts (ctx), not a CLIP: give its run's folder with --model-dir, and "
            "as MODEL.BACKBONE.NAME the CLIP that they were learned on",
            use,
            mishaps.weights(mishaps.tensors("ctx", "token_prefix", "token_suffix")),
        ),
        Case(
            "another network's weights",
            "{tmp}/weights.pt: this is not a CLIP state dict: it has no 'text_projection' (its first keys: fc.weight, "
            "fc.bias); give the weights of a CLIP ViT or ResNet under the names of OpenAI, open_clip or Hugging Face",
            use,
            mishaps.weights(mishaps.tensors("fc.weight", "fc.bias")),
        ),
        Case("a pickled bomb as weights", saved, use, mishaps.weights(mishaps.pickle_bomb)),
        Case(
            "a ResNet under MMRL",
            "MMRL needs a ViT image tower: this backbone is a ResNet; set MODEL.BACKBONE.NAME to ViT-B/16",
            ("MODEL.BACKBONE.NAME", "{tmp}/resnet.safetensors", "INPUT.SIZE", "(64, 64)", *FEW),
            mishaps.resnet,
        ),
    ]


def of_models() -> list[Case]:
    """A finished run that is damaged, or does not fit what is asked of it."""
    use = (*EVALUATE, "{tmp}/trained", *FEW)
    damaged = f"cannot load checkpoint {{tmp}}/trained/{MODEL}: damaged"
    other = f"{{tmp}}/trained/{MODEL} does not fit this run: "
    k, dim, layers = (f"TRAINER.MMRL.{key}" for key in ("N_REP_TOKENS", "REP_DIM", "REP_LAYERS"))
    written = "is not what its run wrote: it is damaged, edited or gone; put the old file back, or train again"
    return [
        Case("a flipped bit in a model", f"{damaged} (its checksum does not fit)", use, mishaps.trained(mishaps.flip)),
        Case("a cut model", f"{damaged}, or not a checkpoint", use, mishaps.trained(mishaps.cut)),
        Case(
            "a bomb in an archive as a model",
            f"{damaged}, or not a checkpoint",
            use,
            mishaps.trained(mishaps.archive_bomb),
        ),
        Case("a pickled bomb as a model", f"{damaged}, or not a checkpoint", use, mishaps.trained(mishaps.pickle_bomb)),
        Case(
            "an epoch that is not there",
            f"no checkpoint at {{tmp}}/trained/{METHOD}/model-9.safetensors: train first, or give --model-dir and "
            "--load-epoch of a run (the folder has model-1.safetensors)",
            (*EVALUATE, "{tmp}/trained", "--load-epoch", "9", *FEW),
            mishaps.trained(),
        ),
        Case(
            "a damaged record",
            "{tmp}/trained/record.json is damaged (its checksum does not fit)",
            use,
            mishaps.trained(mishaps.better, "record.json"),
        ),
        Case(
            "an edited configuration",
            f"{{tmp}}/trained/config.yaml {written}",
            use,
            mishaps.trained(mishaps.edit("ALPHA: 0.7", "ALPHA: 0.5"), "config.yaml"),
        ),
        Case("another K", f"{other}{k} is 5 there, 4 here", (*use, k, "4"), mishaps.trained()),
        Case("another width", f"{other}{dim} is 512 there, 64 here", (*use, dim, "64"), mishaps.trained()),
        Case(
            "other layers",
            f"{other}{layers} is [3, 4, 5, 6] there, [4, 5, 6] here",
            (*use, layers, "[4, 5, 6]"),
            mishaps.trained(),
        ),
        Case(
            "another CLIP",
            f"{other}backbone is embedded (a9cfb4f708a17a12) there, {{tmp}}/weights.safetensors (ac8181c59e046c34) "
            "here",
            (*use, "MODEL.BACKBONE.NAME", "{tmp}/weights.safetensors"),
            mishaps.other_weights,
        ),
        Case(
            "another method's model",
            "{tmp}/trained holds a MMRL model, not one of CoOp",
            use,
            mishaps.trained(),
            method="CoOp",
        ),
        Case(
            "another configuration in a used folder",
            "{tmp}/run holds a run of another configuration: OPTIM.LR: 0.001 -> 0.5; choose another output folder, or "
            "remove this one",
            (*QUICK, "OPTIM.LR", "0.5"),
            mishaps.another_run,
        ),
    ]


CASES = [*of_options(), *of_data(), *of_own_data(), *of_weights(), *of_models()]
