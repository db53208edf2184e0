"""Where a prompt's template comes from, and the one check that every method's texts pass."""

from __future__ import annotations

import pytest

import reference
import trainers
from dassl.config import get_cfg_default
from trainers.shared.templates import check_words, template_of

FACTS = {method: reference.of(method) for method in trainers.METHODS}
KEYS = {method: facts.words for method, facts in FACTS.items() if facts.words}


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


@pytest.mark.parametrize("method", trainers.METHODS)
@pytest.mark.parametrize("template", ["a photo.", "a {name}."])
def test_no_method_takes_a_template_that_makes_no_prompt(method, template, make_trainer):
    with pytest.raises(ValueError) as caught:
        make_trainer(method, "DATASET.TEMPLATE", template)
    assert str(caught.value) == f"DATASET.TEMPLATE {template!r} must hold {{}} once, where the class name goes"


def test_every_setting_of_words_is_known_here():
    """Words, a switch, or a key that nothing reads."""
    nodes = {
        f"TRAINER.{entry.node}.{key}"
        for entry in trainers.METHODS.values()
        for key in entry.settings.defaults()
        if key.endswith("CTX_INIT")
    }
    idle = {facts.idle[0] for facts in FACTS.values() if facts.idle and facts.idle[0].endswith("CTX_INIT")}
    assert nodes == idle | {*KEYS.values(), *(facts.switch for facts in FACTS.values() if facts.switch)}


@pytest.mark.parametrize("method", KEYS)
def test_a_template_is_no_context(method, make_trainer):
    with pytest.raises(ValueError) as caught:
        make_trainer(method, KEYS[method], "a photo of a {}.")
    assert str(caught.value) == (
        f"{KEYS[method]} 'a photo of a {{}}.' must be the words before the class name, which follows by itself, with "
        "a full stop: write 'a photo of a'"
    )


@pytest.mark.parametrize("method", [method for method, facts in FACTS.items() if "COOP.CTX" in facts.switch])
def test_words_where_a_switch_is_asked_for(method, make_trainer):
    with pytest.raises(ValueError) as caught:
        make_trainer(method, "TRAINER.COOP.CTX_INIT", "a photo of a {}.")
    assert str(caught.value) == (
        "TRAINER.COOP.CTX_INIT must be True (start from words) or False (draw), not 'a photo of a {}.'"
    )


@pytest.mark.parametrize(
    ("words", "write"),
    [
        ("a photo of a {}", "a photo of a"),
        ("a_photo_of_a_{}.", "a_photo_of_a"),
        ("a photo of a {}, a type of pet.", "a photo of a"),
        ("a photo of a {name}.", "a photo of a"),
        ("a photo of a }", "a photo of a"),
        ("a photo of a {} and {}.", "a photo of a"),
        ("a photo of a. ", "a photo of a"),
        ("{} texture.", "a photo of a"),
    ],
)
def test_the_line_says_what_to_write(words, write):
    with pytest.raises(ValueError) as caught:
        check_words(words, "KEY")
    assert str(caught.value).startswith(f"KEY {words!r} must be the words") and str(caught.value).endswith(f"{write!r}")
    check_words(write, "KEY")


@pytest.mark.parametrize("words", ["", " ", "a photo of a", "a_photo_of_a", "St. Bernard, a photo of a", "a " * 73])
def test_words_that_a_name_can_follow_are_taken(words):
    check_words(words, "KEY")


def test_words_that_leave_no_room_for_a_name_are_refused():
    with pytest.raises(ValueError, match="^KEY is too long: with a class name a prompt has at most 77 tokens$"):
        check_words("a " * 74, "KEY")


@pytest.mark.parametrize(
    ("method", "key"),
    [("CoOp", "COOP.N_CTX"), ("KgCoOp", "COOP.N_CTX"), ("CoCoOp", "COCOOP.N_CTX"), ("ProDA", "PRODA.N_CTX")],
)
def test_more_vectors_than_a_prompt_has_tokens_are_refused(method, key, make_trainer):
    with pytest.raises(ValueError) as caught:
        make_trainer(method, f"TRAINER.{key}", 74)
    assert str(caught.value) == "N_CTX 74 is too long: with a class name a prompt has at most 77 tokens; 73 is the most"


@pytest.mark.parametrize("method", [method for method, facts in FACTS.items() if facts.idle])
def test_a_setting_without_effect_is_said_and_recorded(method, make_trainer):
    key, value, line = FACTS[method].idle
    assert make_trainer(method, key, value).notes["settings"] == line


@pytest.mark.parametrize("method", KEYS)
def test_nothing_is_said_of_settings_that_agree(method, make_trainer):
    assert "settings" not in make_trainer(method).notes


def test_words_of_several_tokens_stand_at_the_end(make_trainer):
    """Elsewhere the public code would take what is left of the words for the class name."""
    options = ["TRAINER.COOP.CTX_INIT", "a photo of axolotls", "TRAINER.COOP.CLASS_TOKEN_POSITION"]
    make_trainer("CoOp", *options, "end")
    with pytest.raises(ValueError) as caught:
        make_trainer("CoOp", *options, "middle")
    assert str(caught.value) == (
        "'a photo of axolotls' has words of several tokens, so TRAINER.COOP.CLASS_TOKEN_POSITION middle would cut the "
        "class name: set it to end"
    )
