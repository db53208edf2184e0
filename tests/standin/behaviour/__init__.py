"""What the public Dassl does, thinly: as much as it takes to train and test.

Each file has what the listed modules of its row have, under the listed names, signatures, members and attributes, and
no more: `test_standin.py` compares them.
"""

HOMES = {
    "dassl.config": "config",
    "dassl.data.data_manager": "data",
    "dassl.data.datasets.base_dataset": "datasets",
    "dassl.data.datasets.build": "datasets",
    "dassl.data.datasets": "datasets",
    "dassl.data.samplers": "data",
    "dassl.data.transforms": "transforms",
    "dassl.data.transforms.transforms": "transforms",
    "dassl.engine": "registries",
    "dassl.engine.build": "registries",
    "dassl.engine.trainer": "engine",
    "dassl.evaluation": "evaluation",
    "dassl.evaluation.build": "evaluation",
    "dassl.evaluation.evaluator": "evaluation",
    "dassl.metrics.accuracy": "evaluation",
    "dassl.optim.lr_scheduler": "optim",
    "dassl.optim.optimizer": "optim",
    "dassl.utils.logger": "utils",
    "dassl.utils.meters": "utils",
    "dassl.utils.registry": "utils",
    "dassl.utils.tools": "utils",
    "dassl.utils.torchtools": "checkpoints",
}
