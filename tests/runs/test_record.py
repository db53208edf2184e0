"""The record of a run: when it is done, when it goes on, when it is refused; and the lock."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common import files
from runs import record
from runs.environment import PROJECT, commit, versions
from runs.open import check_config

IDENTITY = {"OPTIM.LR": 0.1, "SEED": 1, "run.mode": "train"}
CONFIG = "OPTIM: {LR: 0.1}\nSEED: 1\n"


def run_in(folder: Path, **changes) -> record.Run:
    return record.Run(folder, {**IDENTITY, **changes}, {"method": "M"})


def finished(folder: Path) -> record.Run:
    run = run_in(folder)
    run.start(CONFIG, {})
    run.succeed({"accuracy": 100 / 3})
    return run


def test_the_course_of_a_run(tmp_path):
    folder = tmp_path / "run"
    run = run_in(folder)
    assert run.state() == ("none", "") and not folder.exists()  # looking leaves no trace
    run.start(CONFIG, {"versions": {"python": "3"}})
    assert run_in(folder).state() == ("running", "")
    first = record.read(folder)
    assert first["method"] == "M" and first["versions"] == {"python": "3"} and first["finished"] is None

    run.fail("no luck", {"device": "cpu"})
    assert run_in(folder).state() == ("failed", "")
    assert record.read(folder)["error"] == "no luck"

    again = run_in(folder)
    again.start(CONFIG, {})
    assert record.read(folder)["attempts"] == 2 and record.read(folder)["run_id"] == first["run_id"]
    assert "error" not in record.read(folder)
    again.succeed({"accuracy": 100 / 3})
    assert run_in(folder).state() == ("success", "")
    assert record.read(folder)["accuracy"] == 100 / 3  # unrounded
    assert (folder / "config.yaml").read_text() == CONFIG


def test_a_record_with_a_name_that_is_not_utf_8(tmp_path):
    run = run_in(tmp_path, **{"DATASET.FOLDER": "caf\udce9"})
    run.start(CONFIG, {})
    run.fail("no image caf\udce9.png", {})
    assert record.read(tmp_path)["error"] == "no image caf\udce9.png"
    assert run_in(tmp_path, **{"DATASET.FOLDER": "caf\udce9"}).state() == ("failed", "")
    assert "caf\\udce9.png" in (tmp_path / "record.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("status", ["running", "success", "failed"])
def test_another_configuration_is_refused_and_nothing_is_touched(tmp_path, status):
    run = run_in(tmp_path)
    run.start(CONFIG, {})
    if status == "success":
        run.succeed({})
    elif status == "failed":
        (tmp_path / "resume.pth.tar").touch()
        run.fail("no luck", {})
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(record.ConfigDiffers) as caught:
        run_in(tmp_path, SEED=2, NEW=True).state()
    assert "NEW: (none) -> True; SEED: 1 -> 2" in str(caught.value) and "OPTIM.LR" not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_failed_run_that_saved_nothing_may_be_replaced(tmp_path):
    run = run_in(tmp_path)
    run.start(CONFIG, {})
    run.fail("no such backbone", {})
    other = run_in(tmp_path, SEED=2)
    assert other.state()[0] == "failed"
    before = record.read(tmp_path)["run_id"]
    other.start("SEED: 2\n", {})
    now = record.read(tmp_path)
    assert now["attempts"] == 1 and now["run_id"] != before and now["config"]["SEED"] == 2


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), flip=st.integers(0, 255))
def test_a_damaged_record_is_never_believed(tmp_path, place, flip):
    """Cut anywhere (flip 0) or with any byte changed, a record is read as it was written or not at all."""
    finished(tmp_path)
    whole = record.read(tmp_path)
    path = tmp_path / record.RECORD
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place] ^= flip
    path.write_bytes(content if flip else content[:place])
    try:
        assert record.read(tmp_path) == whole
    except record.DamagedRecord as error:
        assert str(path) in str(error)
        state, note = run_in(tmp_path).state()
        assert state == "none" and "damaged" in note and "unfinished" in note
    path.unlink()


def test_a_damaged_record_is_kept_aside_and_the_written_configuration_still_guards(tmp_path):
    finished(tmp_path)
    (tmp_path / record.RECORD).write_text("{")
    with pytest.raises(record.ConfigDiffers, match="SEED: 1 -> 2"):
        run_in(tmp_path, SEED=2).state()
    run = run_in(tmp_path)
    run.start(CONFIG, {})
    assert [path.read_text() for path in tmp_path.glob("record.json.damaged-*")] == ["{"]
    assert record.read(tmp_path)["status"] == "running"


def test_writing_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_text(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


HOLD = """
import sys, time
from pathlib import Path
from common.files import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(files.fcntl is None, reason="no fcntl here")
def test_two_processes_cannot_hold_the_lock_and_a_killed_one_lets_go(tmp_path):
    path = tmp_path / "run.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(files.RunBusy, match=rf"is being run by another process \(process {holder.pid} on "):
            with files.lock(path):
                pytest.fail("two processes hold the lock")
    finally:
        holder.kill()
        holder.wait()
    assert path.exists()  # a killed process cannot clean up
    with files.lock(path):
        pass
    assert not path.exists()


def test_wall_time_counts_this_attempt(tmp_path):
    run = run_in(tmp_path)
    run.start(CONFIG, {})
    time.sleep(0.05)
    run.succeed({})
    assert 0.05 <= record.read(tmp_path)["wall_seconds"] < 5


def test_surroundings():
    found = versions()
    assert found["python"] == sys.version.split()[0] and found["torch"][0].isdigit()
    here = commit()
    assert here is None or (len(here["id"]) == 40 and isinstance(here["dirty"], bool))
    assert json.dumps(found)


def test_a_record_older_than_a_key_has_that_keys_default(tmp_path):
    finished(tmp_path)
    before = record.read(tmp_path)

    def state(**changes):
        return record.Run(tmp_path, {**IDENTITY, **changes}, {}, {"NEW.KEY": (1, 2), "SEED": 5}).state()

    assert state(**{"NEW.KEY": (1, 2)}) == ("success", "")
    with pytest.raises(record.ConfigDiffers, match=r"NEW.KEY: \[1, 2\] -> \[1, 3\];"):
        state(**{"NEW.KEY": (1, 3)})
    with pytest.raises(record.ConfigDiffers, match="SEED: 1 -> 5"):  # a default is no excuse for what is recorded
        state(SEED=5)
    again = record.Run(tmp_path, {**IDENTITY, "NEW.KEY": (1, 2)}, {}, {"NEW.KEY": (1, 2)})
    again.start(CONFIG, {})
    assert record.read(tmp_path)["run_id"] == before["run_id"] and record.read(tmp_path)["attempts"] == 2


def test_a_preempted_run(tmp_path):
    run = run_in(tmp_path)
    run.start(CONFIG, {})
    run.preempt()
    assert run_in(tmp_path).state() == ("preempted", "")
    with pytest.raises(record.ConfigDiffers):
        run_in(tmp_path, SEED=2).state()


def test_every_change_of_the_written_configuration_is_noticed(tmp_path):
    """Any flipped bit and any cut of config.yaml; records of before it was hashed say nothing of it."""
    finished(tmp_path)
    content = record.read(tmp_path)
    check_config(tmp_path, content)
    path = tmp_path / "config.yaml"
    whole = path.read_bytes()
    damaged = [whole[:cut] for cut in range(len(whole))]
    damaged += [
        whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :] for at in range(len(whole)) for bit in range(8)
    ]
    assert len(damaged) > 200
    for written in damaged:
        path.write_bytes(written)
        with pytest.raises(ValueError, match="config.yaml is not what its run wrote: it is damaged, edited or gone"):
            check_config(tmp_path, content)
    path.unlink()
    with pytest.raises(ValueError, match="config.yaml is not what its run wrote"):
        check_config(tmp_path, content)
    check_config(tmp_path, {key: value for key, value in content.items() if key != "config_file"})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_json_is_neither_written_nor_believed(value, tmp_path):
    run = run_in(tmp_path)
    run.start(CONFIG, {})
    before = (tmp_path / record.RECORD).read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.succeed({"accuracy": value})
    with pytest.raises(ValueError, match=f"^cannot write {tmp_path}/x.json: .*not JSON compliant"):
        files.write_json(tmp_path / "x.json", {"accuracy": value})
    assert (tmp_path / record.RECORD).read_bytes() == before and not (tmp_path / "x.json").exists()
    content = {"status": "success", "accuracy": value}
    sum_of = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()  # as older versions wrote it
    (tmp_path / record.RECORD).write_text(json.dumps({**content, "checksum": sum_of}))
    with pytest.raises(record.DamagedRecord, match="record.json is damaged .*not JSON compliant"):
        record.read(tmp_path)
