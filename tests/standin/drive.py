"""A driver as CoOp's `train.py` is one: configuration, trainer, training. Prints what came out, as JSON.

python drive.py DATA OUTPUT METHOD ...
"""

import hashlib
import json
import sys

import datasets
import trainers
from dassl.config import get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import set_random_seed

FEW = "SEED 1 DATASET.NUM_SHOTS 2 DATASET.SUBSAMPLE_CLASSES base OPTIM.MAX_EPOCH 1 USE_CUDA False"
QUICK = {
    "TipAdapter": "TRAINER.TIPADAPTER.AUGMENT_EPOCH 2 TRAINER.TIPADAPTER.SEARCH_STEP [5,4]",
    "TipAdapterF": "TRAINER.TIPADAPTER.AUGMENT_EPOCH 2 TRAINER.TIPADAPTER.SEARCH_STEP [5,4]",
    "LinearProbe": "TRAINER.LINEARPROBE.SEARCH_STEPS 1",
    "ProVP": "TEST.FINAL_MODEL best_val",
}


def setup_cfg(method, root, output):
    cfg = get_cfg_default()
    trainers.extend_cfg(cfg)
    trainers.merge_from_file(cfg, "configs/datasets/digits.yaml")
    trainers.merge_from_file(cfg, f"configs/trainers/{method}/embedded.yaml")
    words = f"{FEW} {QUICK.get(method, '')} TRAINER.NAME {method} DATASET.ROOT {root} OUTPUT_DIR {output}/{method}"
    cfg.merge_from_list(words.split())
    cfg.freeze()
    return cfg


def train(method, root, output):
    """The losses of each step, the accuracy of the test, and a digest of what was learned."""
    trainers.load(method)
    cfg = setup_cfg(method, root, output)
    set_random_seed(cfg.SEED)
    trainer = build_trainer(cfg)
    step, test, losses, accuracy = trainer.forward_backward, trainer.test, [], []
    trainer.forward_backward = lambda batch: losses.append(step(batch)) or losses[-1]
    trainer.test = lambda *args, **kwargs: accuracy.append(test(*args, **kwargs)) or accuracy[-1]
    trainer.train()
    learned = hashlib.sha256()
    for name, value in sorted(trainer.model.state_dict().items()):
        learned.update(name.encode() + value.detach().numpy().tobytes())
    return {"losses": losses, "accuracy": accuracy, "learned": learned.hexdigest()}


if __name__ == "__main__":
    root, output, *methods = sys.argv[1:]
    datasets.load_all()
    found = {method: train(method, root, output) for method in methods}
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items() if "dassl" in name}
    print(json.dumps({"found": found, "files": files}))
