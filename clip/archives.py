"""What torch wrote to a file, without executing anything in it, and only if it is as it was written.

Archives (all that torch writes since 1.6, and TorchScript) hold a checksum of each part, which torch's own readers do
not look at. Older files hold none.
"""

from __future__ import annotations

import os
import pickle
import struct
import warnings
import zipfile
import zlib
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from common.files import check_zip

PathLike = str | os.PathLike[str]

# What the readers of torch and safetensors raise on files that are cut, corrupt or not theirs.
UNREADABLE = (
    *(SafetensorError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, struct.error, EOFError, OSError),
    *(RuntimeError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError),
)


def read_saved(path: PathLike) -> Any:
    """Read a file of ``torch.save``, tensors and plain values only, on the CPU. Raises one of UNREADABLE."""
    check_zip(path)
    with warnings.catch_warnings():  # the outcome is what counts: tensors, or an error
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def read_torchscript(path: PathLike) -> dict[str, Tensor]:
    """Read the tensors of a TorchScript archive, on the CPU. Raises one of UNREADABLE."""
    check_zip(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The only reader of such archives. It builds no Python objects; the archive's program is never run.
        return torch.jit.load(path, map_location="cpu").state_dict()


def is_torchscript(path: PathLike) -> bool:
    """Return whether an archive holds a program beside its tensors. Raises BadZipFile for what is no archive."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return any("/code/" in name for name in names) and any(name.endswith("/constants.pkl") for name in names)
