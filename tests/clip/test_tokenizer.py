"""The tokenizer against open_clip's, and what OpenAI's interface adds."""

from __future__ import annotations

import itertools
import subprocess
import sys

import open_clip.tokenizer
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import clip
from clip import simple_tokenizer
from clip.simple_tokenizer import SimpleTokenizer

TEMPLATES = ["{}", "a photo of a {}.", "a bad photo of THE {}!", "  {}\t texture \n", "{}, a type of pet's food"]
NAMES = (
    """
accordion|Boeing 737-800|Beef_Carpaccio|face_easy|2012 Ferrari FF Coupe|bolero-shrug|Crème Brûlée|jalapeño
Škoda|Łódź|naïve façade|Ångström|GROẞE STRAẞE|ﬁligree|İstanbul|日本語の写真|中文 字符|한국어|العربية|हिन्दी
русский|ελληνικά|𝔘𝔫𝔦𝔠𝔬𝔡𝔢|🐶|👩‍👩‍👧‍👦 family|🇫🇷 flag|👍🏽!!|☕️ cup|salt &amp; pepper|&lt;b&gt;bold&lt;/b&gt;
&amp;amp;lt;|&eacute;clair|&#128054;|schÃ¶n|donâ€™t|it's we're I'll they've he'd I'm can't|3.14159|1,549
#hashtag @user|https://example.org/a?b=c&d=e|C++/C#|... --- ***|\u00a0nbsp\u00a0|\u200bzero\u200bwidth
\ufeffbom|tab\tand\ttab|\x00nul\x07bell|a|A|é|e\u0301|½ ²|supercalifragilisticexpialidocious
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa|<|startoftext|>|{}|X X X X X X X X
""".strip()
    .replace("\n", "|")
    .split("|")
)
LONG = ["dog " * 100, "🐶" * 80, "word, " * 60 + "end", "x" * 3000, "é" * 400, "a b c " * 25 + "d", "1234567890" * 9]
TEXTS = [t.replace("{}", n) for t, n in itertools.product(TEMPLATES, NAMES)] + LONG + ["", " ", "\n"]
THEIR_SPECIALS = ("start_of_text", "end_of_text", "startoftext", "endoftext")


@pytest.fixture(scope="module")
def tokenizer():
    return SimpleTokenizer()


def test_same_ids_as_open_clip():
    assert len(TEXTS) > 300
    ours = clip.tokenize(TEXTS, truncate=True)
    theirs = open_clip.tokenizer.tokenize(TEXTS)
    differing = [text for text, a, b in zip(TEXTS, ours, theirs, strict=True) if not torch.equal(a.long(), b)]
    assert not differing
    assert int((ours == 49407).sum()) == len(TEXTS)


@given(st.text(max_size=60), st.sampled_from([2, 5, 16, 77]))
def test_same_ids_as_open_clip_on_any_text(text, length):
    if any(special in text.lower() for special in THEIR_SPECIALS):
        return
    ours = clip.tokenize(text, context_length=length, truncate=True)
    assert torch.equal(ours.long(), open_clip.tokenizer.tokenize(text, context_length=length))


def test_known_ids():
    ids = clip.tokenize("A photo of a  DOG.")
    assert ids.shape == (1, 77) and ids.dtype == torch.int
    assert ids[0, :9].tolist() == [49406, 320, 1125, 539, 320, 1929, 269, 49407, 0]
    assert not ids[0, 8:].any()


@pytest.mark.parametrize("length", [5, 77])
def test_too_long_text_raises_or_is_cut(length):
    fits, too_long = "dog " * (length - 2), "dog " * (length - 1)
    assert clip.tokenize(fits, length)[0, -1] == 49407
    with pytest.raises(RuntimeError, match=f"^Input {too_long} is too long for context length {length}$"):
        clip.tokenize(["cat", too_long], length)
    cut = clip.tokenize(["cat", too_long], length, truncate=True)
    assert torch.equal(cut[1], clip.tokenize(fits, length)[0])


def test_context_length_without_room_is_refused():
    with pytest.raises(ValueError, match="context_length is 1"):
        clip.tokenize("dog", 1)


def test_special_tokens_have_openais_names(tokenizer):
    assert tokenizer.encoder["<|startoftext|>"] == 49406 and tokenizer.encoder["<|endoftext|>"] == 49407
    assert tokenizer.decoder[49406] == "<|startoftext|>" and tokenizer.decoder[49407] == "<|endoftext|>"
    assert len(tokenizer.encoder) == len(tokenizer.decoder) == 49408
    assert tokenizer.encode("<|startoftext|>dog<|ENDOFTEXT|>") == [49406, 1929, 49407]
    assert not {49406, 49407} & set(tokenizer.encode("<start_of_text> dog <end_of_text>"))
    assert tokenizer.decode([49406, 1929, 49407]) == "<|startoftext|>dog <|endoftext|>"


@given(st.lists(st.sampled_from("dog café 🐶 x-ray don't 737 日本 ½".split()), max_size=8))
def test_decode_gives_back_the_words(tokenizer, words):
    text = " ".join(words)
    assert tokenizer.decode(tokenizer.encode(text)).replace(" ", "") == text.replace(" ", "")


def test_decode_marks_bytes_that_are_no_text(tokenizer):
    assert tokenizer.decode([tokenizer.encoder[tokenizer.byte_encoder[0xFF]]]) == "\ufffd"


def test_a_start_and_its_tokens_import_nothing_that_is_slow():
    """Each takes a second or more; and reading a checkpoint builds no trainer."""
    code = "import sys, trainers.shared.checkpoints; print(sorted({*sys.modules}))\n"
    code += "import clip, dassl.engine, runs.results; clip.tokenize('a'); print(sorted({*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    checkpoints, start = done.stdout.splitlines()
    assert not any(f"'{name}'" in checkpoints for name in ("trainers.shared.base", "trainers.mmrl", "clip"))
    assert "'dassl.engine'" in start and "'ftfy'" in start
    assert not any(f"'{name}'" in start for name in ("open_clip", "timm", "sklearn", "tensorboard"))


def test_without_open_clip_it_is_said(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="^open_clip is not installed: pip install -r requirements.txt$"):
        simple_tokenizer._open_clip_tokenizer.__wrapped__()
