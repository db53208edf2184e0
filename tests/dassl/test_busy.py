"""Waiting for a processor that others have, from what the system would say."""

from __future__ import annotations

import os
import sys

import pytest

from dassl import busy
from dassl.busy import Look, Waiting, waited


def looks(own: float, all_of_them: float, **delays: float) -> tuple[Look, Look]:
    """Two looks, between which so much happened; the thread `old` is in both."""
    before = Look(100.0, 50.0, 1000.0, {"old": 7.0})
    return before, Look(110.0, 50.0 + own, 1000.0 + all_of_them, {"old": 7.0} | delays)


@pytest.mark.parametrize(
    ("own", "all_of_them", "delays", "wanted"),
    [
        (10.0, 10.0, {}, 0.0),  # alone
        (10.0, 19.0, {"old": 7.1}, 0.1),  # beside another that hardly hinders it: a processor each
        (5.0, 20.0, {"old": 12.0}, 5.0),  # another takes half of the time
        (5.0, 20.0, {"old": 8.0, "new": 3.0}, 3.0),  # the thread that waits longest holds up the others
        (20.0, 20.3, {"old": 16.0}, 0.3),  # own threads in each other's way: only what others took counts
        (10.0, 9.9, {"old": 9.0}, 0.0),  # clocks of different grain
    ],
)
def test_waited(own, all_of_them, delays, wanted):
    assert waited(*looks(own, all_of_them, **delays)) == pytest.approx(wanted)


def test_unknown_is_not_nothing():
    assert waited(None, looks(1, 1)[1]) is None and waited(looks(1, 1)[0], None) is None


def test_stretches_add_up(monkeypatch):
    clock, seen = iter([0.0, 4.0, 10.0, 16.0]), iter([*looks(2, 8, old=8.0), *looks(2, 8, old=8.5)])
    monkeypatch.setattr(busy.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(busy, "look", lambda: next(seen))
    waiting = Waiting()
    assert waiting.part() is None
    for _ in range(2):
        with waiting.watch():
            pass
    assert waiting.part() == pytest.approx(2.5 / 10)


def test_one_unknown_stretch_makes_all_unknown(monkeypatch):
    seen = iter([*looks(2, 8), None, *looks(2, 8)[:1]])
    monkeypatch.setattr(busy, "look", lambda: next(seen))
    waiting = Waiting()
    for _ in range(2):
        with waiting.watch():
            pass
    assert waiting.part() is None


def test_what_linux_says(tmp_path, monkeypatch):
    """Threads by `schedstat`; the machine's time by the processors that may be used, without idle and disks."""
    for thread, text in (("11", "5 2000000000 3"), ("12", "5 500000000 1")):
        folder = tmp_path / "self" / "task" / thread
        folder.mkdir(parents=True)
        (folder / "schedstat").write_text(text)
    (tmp_path / "self" / "task" / "13").mkdir()  # has just ended
    rows = ["cpu  9 9 9 9 9 9 9 9 9 9", "cpu0 100 20 30 4000 50 6 7 8 0 0", "cpu1 1 1 1 1 1 1 1 1 0 0", "intr 1"]
    (tmp_path / "stat").write_text("\n".join(rows))
    monkeypatch.setattr(busy, "PROC", tmp_path)
    monkeypatch.setattr(busy.sys, "platform", "linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    monkeypatch.setattr(os, "sysconf", lambda _: 100)
    found = busy.look()
    assert found is not None and found.delays == {"11": 2.0, "12": 0.5}
    assert found.all == pytest.approx((100 + 20 + 30 + 6 + 7) / 100)


def test_a_workers_time(tmp_path, monkeypatch):
    (tmp_path / "77").mkdir()
    (tmp_path / "77" / "stat").write_text("77 (a) b) S " + " ".join(map(str, range(4, 40))))
    monkeypatch.setattr(busy, "PROC", tmp_path)
    monkeypatch.setattr(os, "sysconf", lambda _: 10)
    assert busy._cpu_of(77) == (14 + 15) / 10 and busy._cpu_of(78) == 0.0


@pytest.mark.parametrize("platform", ["darwin", "linux"])
def test_a_system_that_says_nothing(platform, tmp_path, monkeypatch):
    monkeypatch.setattr(busy, "PROC", tmp_path)
    monkeypatch.setattr(busy.sys, "platform", platform)
    waiting = Waiting()
    with waiting.watch():
        pass
    assert waiting.part() is None and busy.cpu_seconds() > 0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say how long threads waited")
def test_this_machine():
    before = busy.look()
    assert before is not None and str(os.getpid()) in before.delays
    found = waited(before, busy.look())
    assert found is not None and found >= 0
