"""A `train.py` as in a checkout of CoOp, with the six lines of docs/coming-from-coop.md."""

import argparse

import torch
from yacs.config import CfgNode as CN

import datasets  # at the top
import datasets.oxford_pets
import trainers  # at the top
import trainers.coop
import trainers.zsclip
from dassl.config import get_cfg_default
from dassl.engine import build_trainer
from dassl.utils import collect_env_info, set_random_seed, setup_logger


def extend_cfg(cfg):
    cfg.TRAINER.COOP = CN({"N_CTX": 16, "CSC": False, "CTX_INIT": "", "PREC": "fp16", "CLASS_TOKEN_POSITION": "end"})
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    trainers.extend_cfg(cfg)  # last in extend_cfg


def setup_cfg(args):
    cfg = get_cfg_default()
    extend_cfg(cfg)
    cfg.merge_from_file(args.dataset_config_file)
    trainers.merge_from_file(cfg, args.config_file)  # instead of cfg.merge_from_file(args.config_file)
    cfg.DATASET.ROOT, cfg.OUTPUT_DIR, cfg.SEED, cfg.TRAINER.NAME = args.root, args.output_dir, args.seed, args.trainer
    cfg.merge_from_list(args.opts)
    cfg.freeze()
    return cfg


def main(args):
    cfg = setup_cfg(args)
    if cfg.SEED >= 0:
        set_random_seed(cfg.SEED)
    setup_logger(cfg.OUTPUT_DIR)
    torch.backends.cudnn.benchmark = True
    print(collect_env_info())
    datasets.load_all()  # before build_trainer
    trainers.load(cfg.TRAINER.NAME)
    trainer = build_trainer(cfg)
    if args.eval_only:
        trainer.load_model(args.model_dir, epoch=args.load_epoch)
        trainer.test()
        return
    trainer.train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("root", "output-dir", "trainer", "config-file", "dataset-config-file", "model-dir"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--seed", type=int, default=-1)
    parser.add_argument("--load-epoch", type=int)
    parser.add_argument("--eval-only", action="store_true")
    parser.add_argument("opts", nargs=argparse.REMAINDER)
    main(parser.parse_args())
