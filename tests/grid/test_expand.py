"""From lists to runs, and to parts of them."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.grid import expand as expanding
from runs.grid.expand import Grid, chains_of, expand, shard, split_values

DATASETS = ["digits", "dtd", "eurosat", "imagenet_r"]
METHODS = ["MMRL", "ZeroshotCLIP", "CoOp"]


def some(entries):
    return st.lists(st.sampled_from(entries), min_size=1, max_size=len(entries), unique=True)


grids = st.builds(
    Grid,
    protocol=st.sampled_from(["base2new", "xd", "fewshot", "joint"]),
    datasets=some(DATASETS),
    methods=some(METHODS),
    shots=some([1, 16]),
    seeds=some([0, 1, 2]),
    changes=st.sampled_from([{}, {"TRAINER.MMRL.REP_DIM": ["32", "64", "512"]}, {"OPTIM.LR": ["0.1", "0.2"]}]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(grids, min_size=1, max_size=3), st.integers(1, 7))
def test_every_run_is_in_exactly_one_part_after_its_training(some_grids, count):
    runs = expand(some_grids)
    names = [run.name for run in runs]
    assert len(names) == len(set(names))
    parts = [shard(runs, index, count) for index in range(1, count + 1)]
    assert Counter(itertools.chain.from_iterable(parts)) == Counter(runs)
    for part in (runs, *parts):
        for place, run in enumerate(part):
            assert run.model is None or run.model in part[:place]
    sizes = [len(chains_of(part)) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=30, deadline=None)
@given(grids)
def test_the_number_of_runs_is_the_product(grid):
    runs = expand([grid])
    sweep = {"TRAINER.MMRL.REP_DIM": lambda method: 3 if method == "MMRL" else 1, "OPTIM.LR": lambda _: 2}
    values = sum(sweep[key](m) for m in grid.methods for key in grid.changes) if grid.changes else len(grid.methods)
    trained = values * len(grid.shots) * len(grid.seeds)
    count = len(grid.datasets)
    each = {"base2new": 2 * count, "fewshot": count, "xd": 1 + count, "joint": 2 * count}
    # d_r 512 is the default (of EuroSAT 2048): it adds no name, and no run is lost by that
    assert len(runs) == trained * each[grid.protocol]


def test_the_default_point_of_a_sweep_is_the_plain_run():
    (plain,) = expand([Grid("fewshot", ["dtd"], seeds=[1])])
    sweep = Grid("fewshot", ["dtd"], seeds=[1], changes={"TRAINER.MMRL.ALPHA": ["0.70", "5e-1"]})
    assert [run.name for run in expand([sweep])] == [plain.name, plain.name.replace("/seed1", "+ALPHA=0.5/seed1")]
    assert len(expand([sweep, Grid("fewshot", ["dtd"], seeds=[1, 2])])) == 3  # plain in both, once


def test_joint_tests_the_model_of_base_to_new_and_trains_none():
    grids = [Grid(protocol, ["dtd"], seeds=[1]) for protocol in ("base2new", "joint")]
    train, new, joint = expand(grids)
    assert (joint.name, joint.model, new.model) == ("joint/test/dtd/shots_16/MMRL/vit_b16/seed1", train, train)


def test_two_settings_give_every_combination():
    changes = {"TRAINER.MMRL.REP_LAYERS": ["[7, 8]", "[8]"], "OPTIM.LR": ["0.1", "0.2"]}
    runs = expand([Grid("fewshot", ["dtd"], seeds=[1], changes=changes)])
    tags = [run.name.split("/")[4] for run in runs]
    stem = "vit_b16_few_shot+OPTIM.LR"
    wanted = itertools.product(("7_8", "8"), ("0.1", "0.2"))
    assert tags == [f"{stem}={rate}+REP_LAYERS={layers}" for layers, rate in wanted]


def test_a_dataset_can_keep_its_own_value():
    changes = {"TRAINER.MMRL.REP_DIM": ["32", "512", "2048"]}
    own = {"eurosat": ["TRAINER.MMRL.REP_DIM"]}
    runs = expand([Grid("fewshot", ["dtd", "eurosat"], seeds=[1], changes=changes, own=own)])
    assert [run.changes for run in runs if run.dataset == "eurosat"] == [()]
    assert len(runs) == 4


def test_cross_dataset_trains_once_for_all_targets():
    runs = expand([Grid("xd", ["dtd", "imagenet_a"], seeds=[1, 2])])
    assert [run.name.split("/")[:3] for run in runs[:3]] == [
        ["xd", "train", "imagenet"],
        ["xd", "test", "dtd"],
        ["xd", "test", "imagenet_a"],
    ]
    assert len(runs) == 6 and len(chains_of(runs)) == 2


@pytest.mark.parametrize(
    ("grid", "line"),
    [
        ({"protocol": "base2knew"}, "unknown protocol base2knew; did you mean base2new?"),
        ({"datasets": ["dtt"]}, r"unknown dataset dtt; did you mean dtd( or \w+)*\?"),
        ({"methods": ["MaPLE"]}, "unknown method MaPLE; did you mean MaPLe"),
        ({"source": "imagnet", "protocol": "xd"}, "unknown dataset imagnet; did you mean imagenet"),
        ({"seeds": [1, 2, 1]}, "seeds: given twice: 1"),
        ({"datasets": ["dtd", "dtd"]}, "datasets: given twice: dtd"),
        ({"methods": []}, "methods: the list is empty"),
        ({"shots": [0]}, "shots: must be 1 or more, not 0"),
        ({"seeds": [-1]}, "seeds: must be 0 or more, not -1"),
        ({"changes": {"TRAINER.MMRL.ALPHA": []}}, "TRAINER.MMRL.ALPHA: the list is empty"),
        ({"changes": {"TRAINER.MMRL.ALPHA": ["1", "1"]}}, "TRAINER.MMRL.ALPHA: given twice: 1"),
        ({"changes": {"TRAINER.MMRL.ALFA": ["1"]}}, "unknown key TRAINER.MMRL.ALFA; did you mean TRAINER.MMRL.ALPHA"),
        ({"changes": {"TRAINER.MMRL.ALPHA": ["much"]}}, "TRAINER.MMRL.ALPHA must be float"),
        ({"methods": ["CoOp"], "changes": {"TRAINER.MMRL.ALFA": ["1"]}}, "unknown key TRAINER.MMRL.ALFA"),
        ({"changes": {"SEED": ["1"]}}, r"SEED cannot be swept: it is for the grid itself to set \(--seeds\)"),
        ({"options": ["SEED", "7"]}, r"SEED cannot be given after --: it is for the grid itself to set \(--seeds\)"),
        ({"options": ["DATASET.NAME", "DTD"]}, "DATASET.NAME cannot be given after --: it is for the grid itself"),
        ({"options": ["OUTPUT_DIR", "o"]}, r"OUTPUT_DIR cannot be given after --: .* to set \(--output\)"),
        (
            {"changes": {"OPTIM.LR": ["0.1", "0.2"]}, "options": ["OPTIM.LR", "0.3"]},
            "OPTIM.LR is given twice, by OPTIM.LR 0.3 and by OPTIM.LR 0.1",
        ),
        ({"changes": {"TRAIN.PRINT_FREQ": ["1"]}}, "TRAIN.PRINT_FREQ cannot be swept: it changes no result"),
        ({"cfg": "vit"}, "MMRL has no configuration vit"),
    ],
)
def test_what_is_wrong_with_a_grid_is_said_in_one_line(grid, line):
    with pytest.raises(ValueError, match=line) as error:
        expand([Grid(**{"protocol": "base2new", "datasets": ["dtd"], **grid})])
    assert "\n" not in str(error.value)


def test_two_runs_that_differ_never_share_a_folder():
    same = {"protocol": "fewshot", "datasets": ["dtd"], "seeds": [1]}
    with pytest.raises(ValueError, match="two runs that differ have the folder few_shot/dtd.*OPTIM.LR 0.1"):
        expand([Grid(**same), Grid(**same, options=["OPTIM.LR", "0.1"])])
    with pytest.raises(ValueError, match="two runs that differ"):  # both are CTX_INIT=a_b
        expand([Grid(**{**same, "methods": ["CoOp"]}, changes={"TRAINER.COOP.CTX_INIT": ["a b", "a/b"]})])


@pytest.mark.parametrize("part", [(0, 3), (4, 3)])
def test_a_part_that_does_not_exist(part):
    with pytest.raises(ValueError, match=f"must be one of 1/3 to 3/3, not {part[0]}/3"):
        shard(expand([Grid("fewshot", ["dtd"])]), *part)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("32,128", ["32", "128"]),
        ("[1, 2],[3]", ["[1, 2]", "[3]"]),
        ("(224, 224)", ["(224, 224)"]),
        ("'a, b',c", ["'a, b'", "c"]),
        ("full", ["full"]),
        ("", []),
    ],
)
def test_values_are_split_at_outer_commas(text, values):
    assert split_values(text) == values


def test_configurations_are_resolved_once():
    before = expanding.resolved.cache_info().misses
    expand([Grid("fewshot", ["dtd"], seeds=list(range(50)), options=["OPTIM.LR", "0.123"])])
    assert expanding.resolved.cache_info().misses == before + 1
