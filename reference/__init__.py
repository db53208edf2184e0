"""What a method is compared with: one file per method, named as the method's in ``trainers/``.

A file has the paper's equations written plainly and, under the method's registered name, its ``Reference``: the facts
that tests, the golden tool and the benchmarks need of it. They ask ``of``; nothing else lists methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import trainers

from .shared.numbers import Numbers
from .shared.official import Command, Official
from .shared.plain import Plain, Weights

Options = Mapping[str, Any]  # values of settings by their dotted keys
Pick = Callable[[Iterable[Any]], Any]  # draws one of several values
# What a method may lack, if its reference says why (``Reference.lacks``).
FACTS = {
    "golden": "numbers of the public code in tests/trainers/data, whose JSON names the method",
    "checkpoints": "the form of the public code's checkpoints",
    "commands": "a command line of the public code",
    "draws": "what the public code draws, in the trainer's official_draws",
}


def nothing(model: Any) -> None:
    """Leave a model as it was built."""


def usual_loss(model: Any, images: Any, labels: Any) -> Any:
    """Return the training loss."""
    return model.loss(images, labels)[0]


@dataclass(frozen=True)
class Reference:
    """The facts about one method.

    Attributes:
        plain: builds the equations from CLIP's state dict, class names and a configuration.
        draw: settings of the comparison in float64, each chosen by ``Pick``; for the depths of both towers.
        smaller: constants of modules, by their dotted names, that the comparison in float64 has smaller.
        bench: settings of the benchmark, where they are not the defaults.
        toy: settings for a CLIP of three layers, width 64.
        ready: brings a model as it is built to where a step finds it, with the help of torch's generator.
        step: the loss of a benchmark's training step, of model, images and labels.
        learns: whether gradient steps learn anything.
        new_classes: whether it scores classes that it was not trained on.
        beside: what checkpoints hold beside the learned tensors.
        unseen: whether a learned tensor may have no gradient, where nothing sees it.
        numbers: its golden arrays.
        bounds: how far a kind of golden array may be from that of the public code, where that is not the usual bound;
            ``half``: how far the loss in half precision may be from float32's on the tests' small CLIP, else 0.05.
        checkpoints, commands: those of the public code.
        never_drawn: pattern of the learned tensors that start alike with every seed.
        clips_built: how many CLIPs the public code builds.
        words: key of the words that its prompts start from; ``switch``: key that only says whether they do.
        idle: a setting's key and value that have no effect, and the line that says so.
        lacks: by the name of a fact (``FACTS``), why the method has none.
    """

    plain: Callable[[Weights, list[str], Any], Plain]
    draw: Callable[[Pick, int, int], Options] = lambda pick, vision, text: {}
    smaller: Options = field(default_factory=dict)
    bench: Options = field(default_factory=dict)
    toy: Options = field(default_factory=dict)
    ready: Callable[[Any], None] = nothing
    step: Callable[[Any, Any, Any], Any] = usual_loss
    learns: bool = True
    new_classes: bool = True
    beside: frozenset[str] = frozenset()
    unseen: bool = False
    numbers: type[Numbers] = Numbers
    bounds: Mapping[str, float] = field(default_factory=dict)
    checkpoints: tuple[Official, ...] = ()
    commands: tuple[Command, ...] = ()
    never_drawn: str = "$"
    clips_built: int = 1
    words: str = ""
    switch: str = ""
    idle: tuple[str, Any, str] | None = None
    lacks: Mapping[str, str] = field(default_factory=dict)


def module_of(method: str) -> str:
    """Return the name of a registered method's file in this folder, without its ending."""
    return trainers.METHODS[method].module.rpartition(".")[2]


def of(title: str) -> Reference:
    """Return what is known of a registered method, also with plug-ins around it, such as ``CoOp+DePT``.

    Raises ValueError that says what to add where there is nothing.
    """
    method, plugins = trainers.plugins.split_title(title)
    found = _of_method(method)
    for name in plugins:
        found = known.around(found) if (known := plugin(name)) else found
    return found


def plugin(name: str) -> Any:
    """Return what is known of a plug-in, a ``reference.plugins.PluginReference``; None of a calibrator.

    Calibrators change no training, and are held to golden numbers alone (tests/trainers/test_calibrators.py).
    """
    module = f"reference.plugins.{trainers.plugins.PLUGINS[name].module.rpartition('.')[2]}"
    return getattr(import_module(module), name) if find_spec(module) else None


def _of_method(method: str) -> Reference:
    name = module_of(method)
    found = getattr(import_module(f"reference.{name}"), method, None) if find_spec(f"reference.{name}") else None
    if not isinstance(found, Reference):
        raise ValueError(
            f"{method} has no reference: add reference/{name}.py with {method} = Reference(...) "
            "(docs/adding-a-method.md, step 4)"
        )
    return found


def learning() -> list[str]:
    """Return the methods that learn by gradient steps, in the order of ``trainers.METHODS``."""
    return [method for method in trainers.METHODS if of(method).learns]
