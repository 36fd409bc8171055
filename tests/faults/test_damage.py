"""Damaged files of runs: noticed before they become numbers, named,
and no trouble for anybody else.

Run: pytest tests/faults/test_damage.py
"""

import json
import shutil
import subprocess
import sys

import pytest
import torch

from nasutils import runs
from nasutils.runs import DIGEST, BadCheckpoint, BadRun, Run, computed_on, give_digests, run
from nasutils.stamp import stamp
from nasutils.sweep import launch
from nasutils.sweep.launch import finished, gather, name_of, sweep
from nasutils.sweep.planning import Outlook, plan
from nasutils.training.computation import Machine
from tests.faults import series
from tests.small_runs import must_not_run
from tests.sweeps import LONG, ONE, TWO, no_pool

PARAMS = {"kind": "test", "seed": 1}


def work(params, home):
    for epoch in range(3):
        home.append(
            {"epoch": epoch, "loss": 0.5 + epoch, "cost": {"seconds": 1.0}}, {"epoch": epoch + 1}
        )
    return {"epochs": 3, "accuracy": 12.5}


@pytest.fixture
def home(tmp_path):
    """A finished run of three records."""
    return run(work, PARAMS, tmp_path)


@pytest.fixture
def old(home):
    """The same, as it was left before there were digests."""
    (home.path / DIGEST).unlink()
    return home


@pytest.fixture
def half(tmp_path):
    """A search that was stopped after half of its epochs."""
    return series.half_run(tmp_path)


def changed(file, old, new):
    """Another digit in a file, which then is as readable as before."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def nested(file):
    file.write_text("[" * 100_000)


def no_json(file):
    file.write_text("{")


def no_text(file):
    file.write_bytes(b"\xff\xfe\xfa")


def a_list(file):
    file.write_text("[1]\n")


def null(file):
    file.write_text("null\n")


UNREADABLE = [nested, no_json, no_text, a_list, null]

# The series


def test_no_damage_changes_a_number_without_a_word():
    found = series.series(tries=66)
    assert all(not came["silent"] and not came["bare"] for came in found.values()), series.table(
        found
    )
    assert len(found) == 9 and sum(came["named"] for came in found.values()) > 33


# Half runs


def test_a_flipped_bit_in_the_weights_of_a_checkpoint_is_noticed(half):
    file = half.path / "checkpoint.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    torch.load(file, weights_only=True)  # which notices nothing
    with pytest.raises(
        BadCheckpoint, match=r"checkpoint\.pt is damaged .*delete it to start the run again"
    ):
        series.SEARCH.run(Machine(half.path.parent))


def test_another_digit_in_a_record_of_a_half_run_is_noticed(half):
    changed(half.path / "records.jsonl", '"epoch": 1', '"epoch": 7')
    with pytest.raises(
        BadCheckpoint, match=r"records\.jsonl is damaged, says .*checkpoint\.pt; delete both"
    ):
        series.SEARCH.run(Machine(half.path.parent))


def test_a_half_run_of_before_there_were_digests_goes_on(half, tmp_path):
    file = half.path / "checkpoint.pt"
    state = torch.load(file, weights_only=True)
    del state["records"]
    torch.save(state, file)
    again, anew = (
        series.SEARCH.run(Machine(tmp_path)),
        series.SEARCH.run(Machine(tmp_path / "anew")),
    )
    assert series.numbers(again) == series.numbers(anew)


# Finished runs


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("result.json", "12.5", "13.5"),
        ("records.jsonl", "1.5", "1.7"),
        ("params.json", '"seed": 1', '"seed": 2'),
        ("stamp.json", '"threads": ', '"threads": 1'),
    ],
)
def test_another_digit_in_a_finished_run_is_noticed(name, before, after, home, tmp_path):
    changed(home.path / name, before, after)
    with pytest.raises(
        BadRun, match=f"{home.path}/{name} is not what it was when .*delete its folder to compute"
    ):
        run(must_not_run, PARAMS, tmp_path)


@pytest.mark.parametrize("name", runs.FILES)
def test_a_file_that_is_gone_is_noticed(name, home):
    (home.path / name).unlink()
    if name == "result.json":
        assert home.result is None  # and is computed again
    else:
        with pytest.raises(BadRun, match=name):
            _ = home.result


def test_the_digest_is_one_that_sha256sum_checks(home):
    if not (program := shutil.which("sha256sum")):
        pytest.skip("there is no sha256sum")
    said = subprocess.run(
        [program, "-c", DIGEST], cwd=home.path, capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == [f"{name}: OK" for name in runs.FILES]


def test_a_run_without_a_digest_is_read(old, tmp_path):
    assert run(must_not_run, PARAMS, tmp_path).result == {"epochs": 3, "accuracy": 12.5}


@pytest.mark.parametrize("damage", UNREADABLE)
@pytest.mark.parametrize("name", ["params.json", "stamp.json", "result.json"])
def test_what_cannot_be_read_of_an_old_run_is_named(name, damage, old):
    damage(old.path / name)
    with pytest.raises(
        BadRun, match=f"{old.path}/{name} .*get it from a copy, or delete its folder"
    ):
        _ = old.result
    assert not old.finished and name in old.failure["error"]


@pytest.mark.parametrize("damage", [no_json, no_text, nested, a_list])
def test_a_record_that_cannot_be_read_is_named(damage, old):
    damage(old.path / "records.jsonl")
    with (old.path / "records.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(BadRun, match=f"{old.path}/records.jsonl is damaged"):
        _ = old.records


def test_the_parameters_of_another_run_are_noticed(old, tmp_path):
    other = run(work, {**PARAMS, "seed": 2}, tmp_path)
    shutil.copy(other.path / "params.json", old.path)
    with pytest.raises(
        BadRun, match=r"params\.json is not of the run that its folder is named by"
    ):
        run(must_not_run, PARAMS, tmp_path)
    (old.path / "params.json").unlink()
    with pytest.raises(BadRun, match=r"params\.json is not of the run"):
        run(must_not_run, PARAMS, tmp_path)


def test_a_finished_run_with_an_old_failure_has_not_failed(home):
    home.fail("of another day")
    assert home.failure is None


@pytest.mark.parametrize("damage", UNREADABLE)
def test_a_failure_that_cannot_be_read_is_still_one(damage, tmp_path):
    failed = Run(tmp_path)
    damage(tmp_path / "failed.json")
    assert failed.failure["error"].startswith(f"BadRun: {tmp_path}/failed.json is damaged")


# Digests for old runs


def test_old_runs_are_given_a_digest_once(old, tmp_path, capsys):
    give_digests(tmp_path)
    kept = (old.path / DIGEST).read_bytes()
    give_digests(tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        f"{n} runs in {tmp_path} got a digest" for n in (1, 0)
    ]
    assert kept == (old.path / DIGEST).read_bytes() == old.digest().encode()


def test_a_damaged_run_is_given_no_digest(old, tmp_path, capsys):
    (old.path / "records.jsonl").write_text("{\n" * 3)
    give_digests(tmp_path)
    assert f"no digest: {old.path}/records.jsonl is damaged" in capsys.readouterr().out
    assert not (old.path / DIGEST).exists()


def test_the_command_says_where_it_looked(tmp_path):
    command = [sys.executable, "-m", "nasutils.runs", "digest", str(tmp_path / "nowhere")]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 2 and f"there is no folder {tmp_path}/nowhere" in said.stderr
    assert "Warning" not in said.stderr


# The others


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two finished searches."""
    root = tmp_path_factory.mktemp("runs")
    sweep([ONE, TWO], Machine(root), workers=2)
    return root


@pytest.fixture
def root(swept, tmp_path):
    shutil.copytree(swept, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.mark.parametrize("name", runs.FILES)
def test_a_damaged_run_stops_no_other_and_is_left_as_it_is(name, root, capsys, monkeypatch):
    file = root / name_of(ONE) / name
    no_text(file)
    found = gather({"one": ONE, "two": TWO, "long": LONG}, Machine(root), workers=1)
    assert list(finished(found)) == ["two", "long"] and file.read_bytes() == b"\xff\xfe\xfa"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(
        f"2 of 3 runs finished (2 on {stamp()['device']}); failed: {{'one': 'BadRun:"
        f" {file.parent}/"
    )
    monkeypatch.setattr(launch, "open_pool", no_pool)
    gather({"one": ONE, "two": TWO}, Machine(root))


def test_a_damaged_stamp_of_an_old_run_stops_no_count(root):
    old = root / name_of(ONE)
    (old / DIGEST).unlink()
    no_json(old / "stamp.json")
    assert computed_on([Run(old), Run(root / name_of(TWO))]) == {stamp()["device"]: 1}


@pytest.mark.parametrize("name", ["params.json", "stamp.json", "records.jsonl"])
def test_a_damaged_neighbour_stops_no_plan_and_is_named(name, root, capsys):
    no_text(root / name_of(ONE) / name)
    table = plan({0: TWO}, Machine(root))
    assert table["finished"]["all"] == 1 and table["minutes a run"]["all"] > 0
    assert f"left out: {root / name_of(ONE) / name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line", ["{", '{"epoch": 0}', '{"cost": 3}', '{"cost": {"seconds": "1"}}']
)
def test_a_damaged_record_of_a_run_under_way_stops_no_bar(line, root):
    under_way = root / name_of(LONG)
    under_way.mkdir()
    (under_way / "records.jsonl").write_text(f"{line}\n")
    outlook = Outlook([ONE, LONG], Machine(root))
    left = outlook({name_of(ONE): "finished", name_of(LONG): "running"})
    assert left == pytest.approx(
        8 / 3 * sum(r["cost"]["seconds"] for r in Run(root / name_of(ONE)).records)
    )


def test_every_record_says_where_it_lies_when_it_is_damaged(root):
    run = Run(root / name_of(ONE))
    lines = (run.path / "records.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == run.records and len(lines) == 3


def test_of_two_processes_the_first_sets_a_damaged_run_aside(old, monkeypatch, capsys):
    (old.path / "result.json").write_text("{")
    aside = old.path.with_name(f"{old.path.name}.damaged")
    held = runs._holding

    def after_the_other(folder):
        monkeypatch.setattr(runs, "_holding", held)
        runs.set_aside(old)
        return held(folder)

    monkeypatch.setattr(runs, "_holding", after_the_other)
    runs.set_aside(old)
    assert aside.exists() and not old.path.exists()
    assert [path.name for path in old.path.parent.glob("*.damaged*")] == [aside.name]
    assert capsys.readouterr().out.count("set aside as") == 1


def test_a_second_damaged_folder_gets_a_name_of_its_own(tmp_path, capsys):
    for _ in range(3):
        home = run(work, PARAMS, tmp_path)
        (home.path / "result.json").write_text("{")
        runs.set_aside(home)
    names = [path.name.removeprefix(home.path.name) for path in sorted(tmp_path.iterdir())]
    assert names == [".damaged", ".damaged1", ".damaged2"]
    assert capsys.readouterr().out.count("set aside as") == 3


def test_a_run_that_another_process_computes_is_not_waited_for(old):
    (old.path / "result.json").unlink()
    with runs._locked(old.path):
        runs.set_aside(old)
    assert old.path.exists()


def set_aside_before_the_lock_is_taken(home, monkeypatch):
    """Let another process rename the folder while this one waits; returns its new name."""
    aside = home.path.with_name(f"{home.path.name}.damaged")
    take = runs._take

    def after_the_other(descriptor, path):
        monkeypatch.setattr(runs, "_take", take)
        home.path.rename(aside)
        take(descriptor, path)

    monkeypatch.setattr(runs, "_take", after_the_other)
    return aside


def test_who_waited_for_a_folder_that_was_set_aside_computes_in_a_new_one(
    old, tmp_path, monkeypatch
):
    (old.path / "result.json").unlink()
    aside = set_aside_before_the_lock_is_taken(old, monkeypatch)
    assert run(work, PARAMS, tmp_path).result == {"epochs": 3, "accuracy": 12.5}
    assert not (aside / "result.json").exists()


def test_who_waited_to_set_a_run_aside_leaves_it_to_the_other(old, monkeypatch, capsys):
    (old.path / "result.json").write_text("{")
    aside = set_aside_before_the_lock_is_taken(old, monkeypatch)
    runs.set_aside(old)
    assert [path.name for path in aside.parent.iterdir()] == [aside.name]
    assert capsys.readouterr().out == ""


# Copies


def test_a_copy_has_the_files_of_the_run_and_nothing_of_the_way(home, tmp_path):
    home.fail("of another day")
    copy = Run(tmp_path / "other" / home.path.name)
    copy.fail("of yesterday")
    runs.copy_finished(home, copy)
    assert {file.name for file in copy.path.iterdir()} == {*runs.FILES, DIGEST, "lock"}
    assert copy.result == home.result and copy.records == home.records


def test_a_copy_that_was_broken_off_is_no_finished_run(home, tmp_path, monkeypatch):
    copy = Run(tmp_path / "other" / home.path.name)
    write_whole = runs.write_whole

    def until_the_result(path, content):
        if path.name == "result.json":
            raise OSError("killed")
        write_whole(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(runs, "write_whole", until_the_result)
        with pytest.raises(OSError, match="killed"):
            runs.copy_finished(home, copy)
    assert copy.result is None
    runs.copy_finished(home, copy)
    assert copy.result == home.result


def test_a_copy_takes_the_place_of_a_damaged_run_and_of_no_sound_one(old, tmp_path):
    copy = Run(tmp_path / "other" / old.path.name)
    shutil.copytree(old.path, copy.path)
    (copy.path / DIGEST).write_text("of other files")
    runs.copy_finished(old, copy)
    assert copy.result == old.result
    stamped = (copy.path / "stamp.json").stat().st_mtime_ns
    runs.copy_finished(old, copy)
    assert (copy.path / "stamp.json").stat().st_mtime_ns == stamped


def test_a_damaged_run_is_not_copied(old, tmp_path):
    no_json(old.path / "stamp.json")
    runs.copy_finished(old, Run(tmp_path / "other" / old.path.name))
    assert not (tmp_path / "other").exists()


def test_a_run_is_verified_by_reading_each_of_its_files_once(home, monkeypatch):
    read = []
    content = runs._content

    def seen(path):
        read.append(path.name)
        return content(path)

    monkeypatch.setattr(runs, "_content", seen)
    assert home.finished
    assert sorted(read) == sorted([*runs.SUMMED, DIGEST])
