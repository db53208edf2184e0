"""Where a prompt's template comes from."""

from __future__ import annotations

import pytest

import trainers
from dassl.config import get_cfg_default
from trainers.templates import template_of


def _cfg(name: str, template: str = ""):
    cfg = get_cfg_default()
    trainers.extend_cfg(cfg)
    cfg.DATASET.NAME, cfg.DATASET.TEMPLATE = name, template
    return cfg


def test_the_configured_template_comes_before_the_data_sets_own():
    assert template_of(_cfg("EuroSAT")) == "a centered satellite photo of {}."
    assert template_of(_cfg("EuroSAT", "land seen from above: {}")) == "land seen from above: {}"
    assert template_of(_cfg("ImageFolder", "a photo of a {}.")) == "a photo of a {}."


def test_a_data_set_without_a_template_is_told_how_to_give_one():
    with pytest.raises(
        ValueError, match="^there is no prompt template for dataset 'ImageFolder': set DATASET.TEMPLATE"
    ):
        template_of(_cfg("ImageFolder"))


@pytest.mark.parametrize("template", ["a photo.", "{} and {}", "{0}", "a {name}.", "{} }", "{{}}"])
def test_a_template_has_one_place_for_the_class_name(template):
    with pytest.raises(ValueError, match="must hold {} once, where the class name goes$"):
        template_of(_cfg("EuroSAT", template))
