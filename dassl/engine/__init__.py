from .build import TRAINER_REGISTRY, build_trainer
from .resume import Preempted
from .trainer import SimpleNet, SimpleTrainer, TrainerBase, TrainerX, TrainerXU
from .vanilla import Vanilla

__all__ = [
    "Preempted",
    "TRAINER_REGISTRY",
    "SimpleNet",
    "SimpleTrainer",
    "TrainerBase",
    "TrainerX",
    "TrainerXU",
    "Vanilla",
    "build_trainer",
]
