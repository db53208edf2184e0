"""What a report calls a data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from reporting import command
from reporting.load.gather import gather
from reporting.names import dataset_name, is_domain_variant
from runs import record


@pytest.mark.parametrize(
    ("loader", "file", "name"),
    [
        ("ImageFolder", "textile", "textile"),
        ("ImageFolder", "imagefolder", "imagefolder"),
        ("ImageFolder", "dtd", "dtd (own)"),  # not the published one
        ("Table", "average", "average (own)"),  # not the mean of all
        ("Table", "", ""),
        ("DescribableTextures", "dtd", "dtd"),
        ("DescribableTextures", "", "dtd"),
        ("DescribableTextures", "dtd_sketches", "dtd_sketches"),
        ("DescribableTextures", "eurosat", "dtd"),  # DATASET.NAME was given on the command line
        ("Elsewhere", "", "Elsewhere"),
    ],
)
def test_what_a_data_set_is_called(loader, file, name):
    assert dataset_name(loader, file) == name


def test_only_known_variants_are_other_domains():
    assert is_domain_variant("imagenet_r", "imagenet") and is_domain_variant("drawn_letters_v2", "drawn_letters")
    assert not is_domain_variant("textile300", "textile") and not is_domain_variant("imagenet_mine", "imagenet")


def of_own_data(folder: Path, name: str) -> Path:
    """Turn a record into one of own data."""
    facts = {"dataset": "Table", "dataset_config": name, "source": "Table", "source_config": name}
    record.write(folder, {**(record.read(folder) or {}), **facts})
    return folder


def test_own_data_named_as_published_ones_are_not_compared_with_the_paper(runs):
    of_own_data(runs.add("fewshot", "dtd", "all", 50.0, shots=1), "dtd")
    report = command.build(gather([runs.output]), command.Request(paper=True, seeds=(1,)), command.defaults())
    (found,) = [one for one in report.tables if one.name == "few_shot_vit_b_16"]
    assert found.texts() == [["dtd (own)", "MMRL", "50.00"]]


def test_names_that_make_one_file_name_keep_their_files(runs):
    for name in ("my-data", "my_data"):
        of_own_data(runs.add("xd", "dtd", "all", 50.0, folder=name), name)
    report = command.build(gather([runs.output]), command.Request(seeds=(1,)), command.defaults())
    names = [one.name for one in report.tables]
    assert names == ["cross_dataset_my_data_vit_b_16", "cross_dataset_my_data_vit_b_16_2", "runs"]
