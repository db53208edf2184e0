"""Dassl's training-engine API on current PyTorch (the part that the CoOp family of methods uses).

Origin of the API and of its behaviour: https://github.com/KaiyangZhou/Dassl.pytorch (MIT). The code is our
own. Importing this package, `dassl.config` or `dassl.utils` does not import torch.
"""

__version__ = "1.0.0"
