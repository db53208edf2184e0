"""Reading image files: what pixels come out, and what is refused."""

from __future__ import annotations

import io
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dassl.config import get_cfg_default
from dassl.data import DataManager, DatasetWrapper
from dassl.data.check import check_images, fault
from dassl.utils import images
from dassl.utils.images import AS_STORED, Reading, image_size, read_image, to_rgb

CASES = Path(__file__).parents[1] / "data/cases"
UPRIGHT = Reading(upright=True)
ALL_WAYS = (AS_STORED, UPRIGHT)


def pixels(path: Path, reading: Reading = AS_STORED) -> list:
    image = read_image(path, reading)
    assert image.mode == "RGB"
    assert image.size == image_size(path, reading) or path.suffix == ".tif"  # which older Pillow turns at decoding
    return np.asarray(image).tolist()


def png(path: Path, depth: int, kind: int, rows: list[bytes], **chunks: bytes) -> Path:
    """A PNG written by hand; `kind` is its colour type."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    width = len(rows[0]) * 8 // depth // {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *(chunk(name.encode(), data) for name, data in chunks.items())]
    parts += [chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_8_bits_as_stored_are_what_pillow_makes_of_them(tmp_path, mode):
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    for suffix in ("png", "tif"):
        if mode == "CMYK" and suffix == "png":
            continue
        path = tmp_path / f"x.{suffix}"
        Image.fromarray(noise, "RGBA" if mode != "CMYK" else "CMYK").convert(mode).save(path)
        with Image.open(path) as image:
            assert pixels(path) == np.asarray(image.convert("RGB")).tolist()


def test_16_bits_keep_their_high_byte(tmp_path):
    for reading in ALL_WAYS:
        assert pixels(CASES / "sixteen_bit.png", reading) == pixels(CASES / "eight_bit.png", reading)
    values = np.array([[0, 255, 256, 0x1234, 65279, 65280, 65535]], dtype=np.uint16)
    wanted = [[[grey] * 3 for grey in (0, 0, 1, 0x12, 254, 255, 255)]]
    for name in ("a.png", "a.tif", "a.jp2"):
        Image.fromarray(values).save(tmp_path / name, **({"irreversible": False} if name == "a.jp2" else {}))
        assert pixels(tmp_path / name) == wanted
    (tmp_path / "a.pgm").write_bytes(b"P5 7 1 65535\n" + values.astype(">u2").tobytes())
    assert pixels(tmp_path / "a.pgm") == wanted
    colours = np.repeat(values.astype(">u2").ravel(), 3).tobytes()
    assert pixels(png(tmp_path / "rgb.png", 16, 2, [colours])) == wanted  # as Pillow does itself


def test_12_bits_and_inverted_greys_of_tiff(tmp_path):
    def tiff(bits: int, photometric: int, data: bytes) -> Path:
        entries = [(256, 4, 2), (257, 4, 1), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 200)]
        entries += [(277, 3, 1), (278, 4, 1), (279, 4, len(data))]
        head = b"II*\0" + struct.pack("<IH", 8, len(entries))
        head += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries) + bytes(4)
        path = tmp_path / "x.tif"
        path.write_bytes(head.ljust(200, b"\0") + data)
        return path

    assert pixels(tiff(12, 1, bytes([0xFF, 0xF8, 0x00]))) == [[[255] * 3, [128] * 3]]
    data = struct.pack("<2H", 0xFF00, 0x2200)
    assert pixels(tiff(16, 1, data)) == [[[0xFF] * 3, [0x22] * 3]]
    assert pixels(tiff(16, 0, data)) == [[[0x00] * 3, [0xDD] * 3]]


@pytest.mark.parametrize(
    ("values", "tags", "wanted"),
    [
        (np.float32([[0, 0.5, 1]]), {340: 0.0, 341: 1.0}, (0, 128, 255)),
        (np.float32([[-1, 0, 3]]), {340: -1.0, 341: 3.0}, (0, 64, 255)),
        (np.int32([[0, 100, 1000]]), {280: 0, 281: 1000}, (0, 26, 255)),
        (np.int32([[0, 100, 1000]]), {281: 1000}, (0, 26, 255)),
    ],
)
def test_32_bits_are_scaled_from_the_range_that_the_file_states(tmp_path, values, tags, wanted):
    path = tmp_path / "x.tif"
    Image.fromarray(values).save(path, tiffinfo=tags)
    for reading in ALL_WAYS:
        assert pixels(path, reading) == [[[grey] * 3 for grey in wanted]]


def test_32_bits_without_a_range_are_refused(tmp_path):
    rest = (
        "pixels have no stated range, so nothing says which is white: save it with 8 or 16 bits, or as TIFF with the "
        "tags SMinSampleValue and SMaxSampleValue"
    )
    path = CASES / "int32.tif"
    for call in (read_image, image_size, lambda path: check_images([str(path)], AS_STORED)):
        with pytest.raises(OSError) as caught:
            call(path)
        assert str(caught.value).startswith(f"cannot read image {path}: its integer {rest}")
    float_path = tmp_path / "f.tif"
    Image.fromarray(np.float32([[0.25]])).save(float_path)
    with pytest.raises(OSError, match=f"^cannot read image {float_path}: its float {rest}$"):
        read_image(float_path)
    with pytest.raises(OSError, match="^its float pixels have no stated range"):
        to_rgb(Image.new("F", (2, 2)))


@pytest.mark.parametrize("value", [float("nan"), 1.5, -0.1])
def test_pixels_outside_of_the_stated_range_are_refused(tmp_path, value):
    path = tmp_path / "x.tif"
    Image.fromarray(np.float32([[0, value, 1]])).save(path, tiffinfo={340: 0.0, 341: 1.0})
    with pytest.raises(OSError, match=f"^cannot read image {path}: it has pixels outside of the range .*, 0 to 1$"):
        read_image(path)


def corners(count: int = 3) -> Image.Image:
    """An image that no turn leaves alone: 4 x 3, another value everywhere."""
    return Image.fromarray(np.arange(3 * 4 * count, dtype=np.uint8).reshape(3, 4, count) * 5)


@given(turn=st.integers(0, 9), suffix=st.sampled_from(["png", "webp", "tif"]))
def test_upright_is_turned_as_exif_says(tmp_path_factory, turn, suffix):
    path = tmp_path_factory.mktemp("turned") / f"x.{suffix}"
    exif = Image.Exif()
    exif[274] = turn
    corners().save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    with Image.open(path) as image:
        image.load()
        stored = upright = np.asarray(image.convert("RGB"))
        if suffix != "tif":  # which Pillow turns by itself
            upright = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            assert stored.tolist() == np.asarray(corners()).tolist()
    assert pixels(path) == stored.tolist() and pixels(path, UPRIGHT) == upright.tolist()
    with Image.open(path) as image:
        assert np.asarray(to_rgb(image, upright=True)).tolist() == upright.tolist()


def test_a_photograph_equals_its_unrotated_twin(tmp_path):
    path = CASES / "orientation_6.jpg"
    with Image.open(path) as image:
        twin = image.transpose(Image.Transpose.ROTATE_270)
    twin.save(tmp_path / "twin.png")
    assert pixels(path, UPRIGHT) == pixels(tmp_path / "twin.png") != pixels(path)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\1\0\x12", b""])
def test_a_damaged_exif_says_nothing(tmp_path, exif):
    corners().save(tmp_path / "x.jpg", exif=exif)
    assert pixels(tmp_path / "x.jpg", UPRIGHT) == pixels(tmp_path / "x.jpg")


def test_upright_lays_transparent_pixels_on_white(tmp_path):
    red, white, half = [200, 0, 0], [255, 255, 255], [227, 127, 127]
    clear = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [200, 0, 0, 128]]], dtype=np.uint8)
    Image.fromarray(clear).save(tmp_path / "rgba.png")
    assert pixels(tmp_path / "rgba.png") == [[red, red, red]]
    assert pixels(tmp_path / "rgba.png", UPRIGHT) == [[red, white, half]]

    Image.fromarray(np.array([[[9, 255], [9, 0]]], dtype=np.uint8), "LA").save(tmp_path / "la.png")
    assert pixels(tmp_path / "la.png") == [[[9] * 3] * 2]
    assert pixels(tmp_path / "la.png", UPRIGHT) == [[[9] * 3, white]]

    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8), "P")
    palette.putpalette([200, 0, 0, 0, 0, 100])
    for name, transparency in (("p.png", 0), ("p.gif", 0), ("bytes.png", b"\x00\xff")):
        palette.save(tmp_path / name, transparency=transparency)
        assert pixels(tmp_path / name) == [[red, [0, 0, 100]]]
        assert pixels(tmp_path / name, UPRIGHT) == [[white, [0, 0, 100]]]

    rgb = png(tmp_path / "rgb.png", 8, 2, [bytes([200, 0, 0, 0, 0, 100])], tRNS=struct.pack(">3H", 200, 0, 0))
    assert pixels(rgb, UPRIGHT) == [[white, [0, 0, 100]]] and pixels(rgb) == [[red, [0, 0, 100]]]
    grey = png(tmp_path / "grey.png", 8, 0, [bytes([7, 9])], tRNS=struct.pack(">H", 7))
    assert pixels(grey, UPRIGHT) == [[white, [9] * 3]]
    deep = png(tmp_path / "deep.png", 16, 0, [struct.pack(">2H", 0x0701, 0x0702)], tRNS=struct.pack(">H", 0x0701))
    assert pixels(deep, UPRIGHT) == [[white, [7] * 3]] and pixels(deep) == [[[7] * 3] * 2]


def test_more_pixels_than_allowed_name_file_and_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89478485)  # which reading may raise
    path = CASES / "two_hundred_megapixels.png"
    line = (
        f"cannot read image {path}: it has 200.0 megapixels, more than the 178.957 of INPUT.MAX_MEGAPIXELS "
        "(mmrl.py predict: --max-megapixels): raise that if you trust the file, or make the image smaller"
    )
    for call in (read_image, image_size, lambda path: check_images([str(path)], AS_STORED)):
        with pytest.raises(OSError) as caught:
            call(path)
        assert str(caught.value).startswith(line)
    assert image_size(path, Reading(max_megapixels=200)) == (20000, 10000)
    small = tmp_path / "small.png"
    Image.new("RGB", (1000, 2)).save(small)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 89478485)
    with pytest.raises(OSError, match="it has 200.0 megapixels, more than the 99 of"):  # above twice the limit, too
        read_image(path, Reading(max_megapixels=99))
    with pytest.raises(OSError, match="it has 0.0 megapixels, more than the 0.001 of"):
        read_image(small, Reading(max_megapixels=0.001))


def test_no_warning_besides(python):
    code = "import sys; from dassl.data.check import fault, Reading; print(fault(sys.argv[1], Reading()))"
    words = [python, "-c", code, str(CASES / "two_hundred_megapixels.png")]
    done = subprocess.run(words, cwd=CASES.parents[2], capture_output=True, text=True, check=True)
    assert "it has 200.0 megapixels" in done.stdout and done.stderr == ""


def test_the_default_limit_is_pillows():
    cfg = get_cfg_default()
    assert Reading.of(cfg) == AS_STORED and AS_STORED.max_megapixels * 1e6 == 2 * 89478485
    cfg.INPUT.READ = "upright"
    assert Reading.of(cfg) == UPRIGHT
    cfg.INPUT.READ = "sideways"
    with pytest.raises(ValueError, match="INPUT.READ must be stored or upright, not 'sideways'"):
        Reading.of(cfg)
    cfg.INPUT.READ, cfg.INPUT.MAX_MEGAPIXELS = "stored", 0.0
    with pytest.raises(ValueError, match="INPUT.MAX_MEGAPIXELS must be above 0, not 0.0"):
        Reading.of(cfg)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty (0 bytes)"),
        (b"no image", "not an image file"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC needs pillow-heif: pip install it"),
    ],
)
def test_what_pillow_does_not_know(tmp_path, content, reason, monkeypatch):
    monkeypatch.setattr(images, "find_spec", lambda name: None)
    images.register_plugins.cache_clear()
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(OSError) as caught:
        read_image(path)
    assert str(caught.value) == f"cannot read image {path}: {reason}" == fault(str(path), AS_STORED)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_the_check_finds_damage_at_either_end(tmp_path, kind, capsys):
    noise = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, kind)
    content = buffer.getvalue()
    files = {"whole": content, "longer": content + bytes(7), "empty": b"", "short": content[:20]}
    files["cut"] = content[: len(content) // 2]
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    faults = {name for name in files if fault(str(tmp_path / name), AS_STORED)}
    seen = {"empty", "short", "cut"} if kind not in ("TIFF", "BMP") else {"empty", "short"}
    assert faults in (seen, seen | {"cut"})
    check_images([str(tmp_path / "whole"), str(tmp_path / "longer")], UPRIGHT)
    with pytest.raises(OSError) as caught:
        check_images([str(tmp_path / name) for name in ("whole", "empty", "short", "longer", "short")], UPRIGHT)
    assert str(caught.value) == (
        f"cannot read image {tmp_path}/empty: it is empty (0 bytes) (2 of 4 images cannot be read: mend them, or take "
        "them out of the data)"
    )
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_no_list_is_left_out_of_the_check(cfg, tmp_path, part):
    cfg.DATASET.ROOT = str(tmp_path)
    DataManager(cfg)
    broken = tmp_path / f"squares/{part}/green1.png"
    broken.write_bytes(broken.read_bytes()[:48])  # its header is whole
    with pytest.raises(OSError, match=rf"^cannot read image {broken}: .* \(1 of 36 images cannot be read: "):
        DataManager(cfg)
    with pytest.raises(OSError, match="cannot read image"):
        DataManager(cfg, dataset_wrapper=type("Mine", (DatasetWrapper,), {}))
    DataManager(cfg, dataset_wrapper=lambda *_, **__: [0, 1, 2])  # which may read something else
    cfg.DATALOADER.CHECK_IMAGES = False
    DataManager(cfg)


def test_loaders_read_as_the_configuration_says(cfg, tmp_path):
    cfg.DATASET.ROOT = str(tmp_path)
    data = DataManager(cfg)
    for item in (data.dataset.train_x[0], data.dataset.test[0]):
        exif = Image.Exif()
        exif[274] = 6
        corners().save(item.impath, exif=exif)
    for read, size in (("stored", (4, 3)), ("upright", (3, 4))):
        cfg.INPUT.READ = read
        for limit in (0.0, 1.0):
            cfg.DATALOADER.CACHE_GB = limit
            data = DataManager(cfg)
            for loader in (data.train_loader_x, data.test_loader):
                for _ in range(2):
                    assert loader.dataset.read(loader.dataset.data_source[0].impath).size == size
