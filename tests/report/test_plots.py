"""Every kind of plot: what it shows, and that its files are pictures of that."""

from __future__ import annotations

import pytest
from PIL import Image

from reporting.load.result import Row
from reporting.plots import training
from reporting.plots.cost import cost_plots
from reporting.plots.curves import ablation_plots, few_shot_plots
from reporting.plots.radar import radar_figure, radar_plots
from reporting.plots.style import COLOURS, DASHES, MARKERS, Plot, look, save
from reporting.plots.training import losses_of_events, losses_of_log, training_plots
from reporting.stats import Cell

LOG = """\
epoch [1/2] batch [5/10] time 0.1 (0.1) data 0.0 (0.0) loss 9.0000 (8.0000) lr 1.0000e-05 eta 0:00:12
epoch [1/2] batch [10/10] time 0.1 (0.1) data 0.0 (0.0) loss 3.0000 (4.0000) lr 2.0000e-03 eta 0:00:08
epoch [2/2] batch [10/10] time 0.1 (0.1) data 0.0 (0.0) loss 1.0000 ({last}) lr 4.8943e-05 eta 0:00:00
"""


def made(plots, runs, *seeds: int) -> dict[str, Plot]:
    cells = runs.cells(*seeds or (1,))
    return {plot.name: plot for plot in plots(cells, cells.keys())}


def lines_of(axis) -> dict[str, list[tuple[float, float]]]:
    """Points of each labelled series; error bars keep theirs in a container."""
    handles, labels = axis.get_legend_handles_labels()
    found = {}
    for handle, label in zip(handles, labels, strict=True):
        line = handle[0] if isinstance(handle, tuple) else handle
        found[label] = [(float(x), float(y)) for x, y in zip(*line.get_data(), strict=True)]
    return found


def assert_files(plot: Plot, folder) -> None:
    """Both files exist, and the picture has more than a background."""
    png, svg = save(plot, folder)
    with Image.open(png) as image:
        assert min(image.size) > 300 and len(image.convert("RGB").getcolors(1_000_000)) > 50
    text = svg.read_text(encoding="utf-8")
    assert text.count("<path") > 20 and "</svg>" in text and "dc:date" not in text


def test_few_shot_curves_by_data_set_on_average_and_all(runs, tmp_path):
    for name, least in {"dtd": 50.0, "eurosat": 70.0}.items():
        for shots in (1, 2, 4):
            for seed in (1, 2):
                runs.add("fewshot", name, "all", least + shots + seed, shots=shots, seed=seed)
            runs.add("fewshot", name, "all", least - shots, shots=shots, method="CoOp")
    plots = made(few_shot_plots, runs, 1, 2)
    assert list(plots) == [f"few_shot_vit_b_16_{name}" for name in ("average", "dtd", "eurosat", "all")]
    assert not plots["few_shot_vit_b_16_all"].on_page and len(plots["few_shot_vit_b_16_all"].figure.axes) == 3
    (axis,) = plots["few_shot_vit_b_16_dtd"].figure.axes
    assert lines_of(axis) == {"CoOp": [(1, 49), (2, 48), (4, 46)], "MMRL": [(1, 52.5), (2, 53.5), (4, 55.5)]}
    hollow = [line for line in axis.lines if line.get_markerfacecolor() == "white"]
    assert [float(y) for line in hollow for y in line.get_ydata()] == [49.0, 48.0, 46.0]  # CoOp lacks a seed
    (axis,) = plots["few_shot_vit_b_16_average"].figure.axes
    assert lines_of(axis)["MMRL"] == [(1, 62.5), (2, 63.5), (4, 65.5)]
    for name in ("dtd", "all"):
        assert_files(plots[f"few_shot_vit_b_16_{name}"], tmp_path)


def test_radar_shows_points_below_the_best(runs, tmp_path):
    for name, hm in {"dtd": 50.0, "eurosat": 70.0, "ucf101": 60.0}.items():
        runs.pair(name, hm, hm)
        runs.pair(name, hm - 5, hm - 5, method="CoOp")
    (plot,) = made(radar_plots, runs).values()
    (axis,) = plot.figure.axes
    found = {label: [y for _, y in points] for label, points in lines_of(axis).items()}
    assert found == {"CoOp": pytest.approx([-5.0] * 4), "MMRL": [0.0] * 4}
    assert [label.get_text() for label in axis.get_xticklabels()] == ["dtd\n50.0", "eurosat\n70.0", "ucf101\n60.0"]
    assert_files(plot, tmp_path)


def test_no_radar_below_three_data_sets(runs):
    runs.pair("dtd", 50.0, 50.0)
    assert not made(radar_plots, runs)


def test_radar_with_one_method_alone_is_drawn():
    figure = radar_figure({Row("MMRL"): {name: Cell.over_seeds({1: 50.0}, (1,)) for name in "abc"}})
    assert figure.axes[0].get_ylim()[0] < 0


def test_ablation_curves(runs, tmp_path):
    runs.pair("dtd", 80.0, 60.0)
    runs.pair("dtd", 70.0, 70.0, changes={"TRAINER.MMRL.ALPHA": 0.5})
    runs.pair("dtd", 70.0, 60.0, changes={"TRAINER.MMRL.REP_LAYERS": [3, 4]})
    runs.pair("dtd", 70.0, 60.0, changes={"TRAINER.MMRL.VARIANT": "wo_L"})  # has no axis
    plots = made(ablation_plots, runs)
    assert list(plots) == ["ablation_mmrl_alpha_vit_b_16_dtd", "ablation_mmrl_rep_layers_vit_b_16_dtd"]
    alpha, layers = (plot.figure.axes[0] for plot in plots.values())
    assert lines_of(alpha) == {
        "Base": [(0, 70), (1, 80)],
        "New": [(0, 70), (1, 60)],
        "HM": [(0, 70), (1, pytest.approx(68.5714, abs=1e-4))],
    }
    assert [label.get_text() for label in alpha.get_xticklabels()] == ["0.5", "0.7"]
    assert [label.get_text() for label in layers.get_xticklabels()] == ["3", "6"]
    assert layers.get_xlabel() == "first layer of REP_LAYERS"
    assert_files(plots["ablation_mmrl_rep_layers_vit_b_16_dtd"], tmp_path)


def test_cost_against_hm(runs, tmp_path):
    for name in ("dtd", "eurosat"):
        cost = {"learned_parameters": 5_000_000, "ms_per_training_image": 5.0}
        runs.pair(name, 90.0 if name == "dtd" else 70.0, 60.0 if name == "dtd" else 100.0, **cost)
        runs.pair(name, 70.0, 70.0, method="ZeroshotCLIP", learned_parameters=0)
    runs.pair("dtd", 60.0, 60.0, method="CoOp", learned_parameters=8_000)  # not on both data sets
    plots = made(cost_plots, runs)
    assert list(plots) == ["cost_learned_values_vit_b_16_cpu"]  # time is MMRL's alone
    plot = plots["cost_learned_values_vit_b_16_cpu"]
    assert lines_of(plot.figure.axes[0]) == {"ZeroshotCLIP": [(0, 70)], "MMRL": [(5, 80)]}
    assert "mean of 2 data sets" in plot.title
    assert_files(plot, tmp_path)


def test_training_curves_of_logs(runs, tmp_path):
    for seed, last in ((1, "2.0000"), (2, "3.0000")):
        folder = runs.add("base2new", "dtd", "base", 80.0, seed=seed)
        (folder / "log.txt").write_text(LOG.format(last=last))
    runs.add("base2new", "dtd", "base", 70.0, method="ZeroshotCLIP")  # trains nothing
    (plot,) = made(training_plots, runs, 1, 2).values()
    assert plot.name == "training_base2new_vit_b_16_dtd"
    (axis,) = plot.figure.axes
    assert lines_of(axis) == {"MMRL": [(1, 4.0), (2, 2.5)]} and len(axis.collections) == 1
    assert_files(plot, tmp_path)


def test_losses_of_older_logs_and_of_lines_cut_short(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text(
        "epoch [1/2][10/10]\ttime 0.1 (0.1)\tdata 0.0 (0.0)\teta 0:00:00\tloss 3.0 (4.5)\tacc 50.0 (51.0)\tlr 2e-03\n"
        "epoch [2/2][10/10]\ttime 0.1 (0.1)\tdata 0.0 (0.0)\teta 0:00:00\tloss 3.0 (x)\n"
        "epoch [2/2][10/10]\ttime 0.1\n"
        "epoch [3/4] loss 1.5000 acc 90.0000 lr 2.0000e-03 time 0.1 s eta 0:00:00\nepoch [4/4] loss 1.5\n"
    )
    assert losses_of_log(path) == {1: 4.5, 3: 1.5}
    assert losses_of_log(tmp_path / "none.txt") == {}


def test_losses_from_tensorboard_where_the_log_has_none(runs):
    from torch.utils.tensorboard import SummaryWriter

    folder = runs.add("base2new", "dtd", "base", 80.0)
    with SummaryWriter(str(folder / "tensorboard")) as writer:
        for step, loss in enumerate((3.0, 2.5, 2.0)):
            writer.add_scalar("train/loss", loss, step)
    assert losses_of_events(folder / "tensorboard") == {1: 3.0, 2: 2.5, 3: 2.0}
    assert losses_of_events(folder / "none") == {}
    (plot,) = made(training_plots, runs).values()
    assert plot.figure.axes[0].get_xlabel() == "step"
    (folder / "log.txt").write_text(LOG.format(last="2.0000"))
    assert training.losses(runs.cells(1).results(runs.cells(1).keys()[0])[0]) == ("epoch", {1: 4.0, 2: 2.0})


def test_neighbouring_series_differ_in_colour_marker_and_dashes():
    looks = [(look(i)["color"], look(i)["marker"], str(look(i)["linestyle"])) for i in range(20)]
    assert len(set(looks)) == 20
    for one, next_one in zip(looks, looks[1:], strict=False):
        assert all(a != b for a, b in zip(one, next_one, strict=True))
    assert len(set(COLOURS)) == 8 and len(set(MARKERS)) == 11 and len(DASHES) == 6
