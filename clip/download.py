"""OpenAI's released models: where they are, and how they get here."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
import warnings
from pathlib import Path

from tqdm import tqdm

from common.files import BLOCK, replacing, sha256

DEFAULT_ROOT = "~/.cache/clip"
TIMEOUT_SECONDS = 60

_BASE = "https://openaipublic.azureedge.net/clip/models"
_MODELS = {
    "RN50": f"{_BASE}/afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762/RN50.pt",
    "RN101": f"{_BASE}/8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599/RN101.pt",
    "RN50x4": f"{_BASE}/7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd/RN50x4.pt",
    "RN50x16": f"{_BASE}/52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa/RN50x16.pt",
    "RN50x64": f"{_BASE}/be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c/RN50x64.pt",
    "ViT-B/32": f"{_BASE}/40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
    "ViT-B/16": f"{_BASE}/5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f/ViT-B-16.pt",
    "ViT-L/14": f"{_BASE}/b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
    "ViT-L/14@336px": f"{_BASE}/3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02/ViT-L-14-336px.pt",
}


def _download(url: str, root: str | os.PathLike[str] = DEFAULT_ROOT) -> str:
    """Fetch ``url`` into ``root`` unless its file is there and whole; returns the file's path.

    The last but one part of the URL is the file's SHA-256. Data goes to a file of its own
    (``NAME.*.incomplete``) that gets the final name once the hash fits, so nobody ever sees half a file, and
    two processes do not disturb each other.

    Raises ValueError for a URL without hash, RuntimeError where the download fails or the hash is another.
    """
    expected, filename = _hash_and_name(url)
    folder = Path(root).expanduser()
    target = folder / filename
    if target.is_file():
        if sha256(target) == expected:
            return str(target)
        warnings.warn(f"{target} has the wrong SHA-256 checksum: downloading it again", stacklevel=2)
    elif target.exists():
        raise RuntimeError(f"{target} is in the way of a download: it exists and is not a regular file")

    folder.mkdir(parents=True, exist_ok=True)
    with replacing(target, many_writers=True) as part:
        received = _fetch(url, part)
        if received != expected:
            raise RuntimeError(f"{url} gave data with the wrong SHA-256 checksum ({received}): nothing was kept")
    return str(target)


def _hash_and_name(url: str) -> tuple[str, str]:
    match = re.search(r"/([0-9a-f]{64})/([^/?#]+)$", url)
    if match is None:
        raise ValueError(f"{url} does not end in SHA256/FILENAME, so its data could not be checked")
    return match.group(1), match.group(2)


def _fetch(url: str, part: Path) -> str:
    """Write what ``url`` gives to ``part``, with a progress bar; returns its SHA-256."""
    hint = "try again, or fetch the file yourself and give its path in place of the model's name"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as source:
            total = int(source.headers.get("Content-Length", 0)) or None
            digest, received = _copy(source, part, total)
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"cannot download {url}: HTTP {error.code} {error.reason}; {hint}") from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise RuntimeError(f"cannot download {url}: {getattr(error, 'reason', error)}; {hint}") from error
    if total is not None and received != total:  # http.client ends a cut response silently
        cut = f"the connection ended after {received} of {total} bytes"
        raise RuntimeError(f"cannot download {url}: {cut}; {hint}")
    return digest


def _copy(source: http.client.HTTPResponse, part: Path, total: int | None) -> tuple[str, int]:
    digest, received = hashlib.sha256(), 0
    bar = tqdm(total=total, desc=part.name.split(".")[0], unit="iB", unit_scale=True, unit_divisor=1024)
    with bar, part.open("wb") as file:
        while chunk := source.read(BLOCK):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
            bar.update(len(chunk))
    return digest.hexdigest(), received
