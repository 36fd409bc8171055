"""Own methods and spaces: what is refused, what names a run, other processes, notebooks (Ray:
tests/sweep).

Run: pytest tests/test_registry.py
"""

import importlib
import pickle
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from nasutils import methods, spaces
from nasutils.methods.base import PRESETS
from nasutils.methods.darts import DARTS
from nasutils.methods.sampled import Sampled
from nasutils.registry import digest
from nasutils.spaces.darts import DARTS as DARTSSpace
from nasutils.spaces.nasbench201 import NASBench201
from nasutils.sweep.launch import gather, name_of
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment, build
from nasutils.training.finalnet import Evaluation

HELPERS = (
    "RATE = 0.9\n\ndef unused():\n    return 1\n\ndef power(epoch):\n    return RATE**epoch\n"
)
RULES = """
import helpers
from nasutils import methods
from nasutils.methods.darts import DARTS

LOW = 0.1

def floor(value):
    return max(value, LOW)

class Base(DARTS):
    unit = 1.0

class Sharp(Base):
    name = "sharp"

    def __init__(self, space, *, start=1.0, **common):
        super().__init__(space, **common)
        self.start = start

    def begin_epoch(self, epoch):
        self.temperature = floor(self.start * self.unit * helpers.power(epoch))

methods.register(Sharp)
"""
TABLES = """
from functools import partial
from nasutils import methods
from nasutils.methods.darts import DARTS

def fall(epoch):
    return 0.9**epoch

def rise(epoch):
    return 1.1**epoch

RULES = {
    "down": fall,
    "flat": lambda epoch: rise(1.0),
}
STEPS = [fall, len]
HALF = partial(pow, 0.5)

@methods.register
class Sharp(DARTS):
    name = "sharp"

    def begin_epoch(self, epoch):
        self.temperature = RULES["down"](epoch) + STEPS[0](epoch) + HALF(epoch)
"""
VALUES = """
from types import SimpleNamespace
import torch
from torch import nn
from nasutils import methods
from nasutils.methods.darts import DARTS

COMMON = methods.Recipe(batch=16)
KERNELS = {3, 5}
GIVEN = SimpleNamespace(rate=0.1)
ACT = torch.relu
NORM = nn.BatchNorm2d
TABLE = torch.tensor([[1.0, 2.0]])

def made(rate):
    def rule(epoch):
        return rate * epoch
    return rule

RULE = made(0.5)

@methods.register
class Sharp(DARTS):
    name = "sharp"
    followed = COMMON, KERNELS, GIVEN, ACT, NORM, TABLE, RULE
"""
SPACE = """
from nasutils import methods, spaces
from nasutils.spaces.darts import DARTS

@spaces.register
class Small(DARTS):
    name = "small"
    ops = ("skip_connect", "sep_conv_3x3", "avg_pool_3x3")
    recipe = methods.Recipe(batch=16)
"""
TINY = {
    "dataset": "digits",
    "resolution": 8,
    "images": 32,
    "evaluation": 16,
    "channels": 4,
    "cells": 1,
    "epochs": 2,
}


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test registers and imports is not there in the next one."""
    for kind in (methods, spaces):
        monkeypatch.setattr(kind.registry, "_classes", dict(kind.registry._classes))
        monkeypatch.setattr(kind.registry, "_travelled", {})
    yield
    for name in ("helpers", "rules", "cells"):
        sys.modules.pop(name, None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with an own method and an own space, from which modules are imported."""
    for name, text in (("helpers", HELPERS), ("rules", RULES), ("cells", SPACE)):
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def load(*names):
    """The modules, anew: as a kernel that was restarted has them."""
    for name in ("helpers", "rules", "cells"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    return [importlib.import_module(name) for name in names]


def edit(file, before, after):
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))


def sharp(**changed):
    return Experiment(
        **{"method": "sharp", "recipe": {"split": "half", "batch": 16}, **TINY, **changed}
    )


def small(**changed):
    return sharp(space="small", method="darts", cells=3, **changed)


# What is refused


class Nameless(DARTS):
    name = ""


class Blank(DARTS):
    name = "my method"


class Inherited(DARTS):
    pass


class Misspelt(DARTS):
    name = "misspelt"

    def mixng(self):
        return super().mixing()


class Loose(DARTS):
    name = "loose"

    def __init__(self, space, strength=1.0, **common):
        super().__init__(space, **common)


class Unfinished(Sampled):
    name = "unfinished"


class Bare(DARTSSpace):
    name = "bare"


class Full(DARTSSpace):
    name = "full"
    recipe = methods.Recipe()

    def __init__(self, size):
        self.size = size


class Other(NASBench201):
    name = "other"
    ops = NASBench201.ops[1:]
    recipe = methods.Recipe()


@pytest.mark.parametrize(
    ("register", "cls", "says"),
    [
        (
            methods.register,
            int,
            "a method to register must be a class derived from nasutils.methods.base.Method",
        ),
        (methods.register, "darts", "must be a class derived from"),
        (methods.register, DARTSSpace, "must be a class derived from nasutils.methods"),
        (methods.register, Nameless, "Nameless must have a name of letters"),
        (methods.register, Blank, "such as 'mine', not 'my method'"),
        (
            methods.register,
            Inherited,
            "Inherited must have a name of its own, .*: it has inherited 'darts'",
        ),
        (methods.register, Misspelt, r"Misspelt\.mixng overrides nothing: did you mean 'mixing'"),
        (methods.register, Loose, "options of Loose must stand behind a \\*.*: strength"),
        (
            methods.register,
            Unfinished,
            "Unfinished must define sample, see nasutils.methods.base.Method",
        ),
        (
            methods.register,
            type("Made", (DARTS,), {"name": "made", "__module__": "tests"}),
            "source of Made cannot be",
        ),
        (spaces.register, DARTS, "must be a class derived from nasutils.spaces.base.Space"),
        (spaces.register, Bare, "must say what a search on it asks of the loop: recipe = "),
        (spaces.register, Other, "Other must have the operations of nasbench201"),
        (spaces.register, Full, "Full must be made without arguments"),
    ],
)
def test_what_cannot_be_registered_is_refused_at_once(register, cls, says):
    before = methods.names, spaces.names
    with pytest.raises(ValueError, match=says):
        register(cls)
    assert (methods.names, spaces.names) == before


@pytest.mark.parametrize("name", methods.names)
def test_no_name_in_our_own_methods_passes_for_a_misspelt_one(name):
    methods._check(methods.registry[name])


def test_a_class_within_a_function_is_refused():
    class Local(DARTS):
        name = "local"

    with pytest.raises(ValueError, match="must be defined at the top of a module or cell"):
        methods.register(Local)


def test_a_name_of_another_own_method_is_taken(folder):
    load("rules")
    (folder / "helpers.py").write_text(
        RULES.replace("import helpers", "").replace("helpers.power(epoch)", "1")
    )
    with pytest.raises(ValueError, match=r"the method 'sharp' is taken by rules\.Sharp"):
        load("helpers")


# What is registered


def test_an_own_method_and_an_own_space_are_known_by_name(folder):
    load("rules", "cells")
    assert methods.names[-1] == "sharp" and spaces.names[-1] == "small"
    assert methods.options("sharp")[0] == "start" and spaces.get("small").num_architectures > 1
    method = methods.get("sharp", spaces.get("small"), start=0.5)
    method.begin_epoch(2)
    assert method.temperature == pytest.approx(0.5 * 0.81)
    with pytest.raises(ValueError, match="did you mean 'sharp'"):
        Experiment(method="shapr")


def test_registered_again_from_its_place_a_class_replaces_the_one_before(folder):
    (before,) = load("rules")
    (after,) = load("rules")
    assert methods.registry["sharp"] is after.Sharp is not before.Sharp


def test_ours_are_not_in_the_name_of_a_run():
    assert not any("source" in name for name in Experiment().params())


# What is inherited


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("space", ["nasbench201", "s2", "darts", "lhd"])
def test_an_own_method_differs_from_its_parent_in_nothing_but_what_it_changes(
    folder, space, preset
):
    load("rules")
    own, parent = (
        methods.get(name, spaces.get(space), preset=preset) for name in ("sharp", "darts")
    )
    assert own.recipe == parent.recipe and own.order == parent.order
    assert own.policy == parent.policy and own.preset == parent.preset
    assert own.optimizer.param_groups[0] == {
        **parent.optimizer.param_groups[0],
        "params": own.optimizer.param_groups[0]["params"],
    }
    own.begin_epoch(3)
    assert own.temperature == pytest.approx(0.9**3) and parent.temperature == 1


CYCLE = """
from dataclasses import replace

from nasutils import methods
from nasutils.methods.pcd_darts import PCDDARTS
from nasutils.methods.base import PRESETS, Method

class Cycle(PCDDARTS):
    pass

@methods.register
class Slow(Cycle):
    name = "slow"

    def __init__(self, space, *, decay=0.01, **common):
        super().__init__(space, decay=decay, **common)

@methods.register
class Fixed(PCDDARTS):
    name = "fixed"

    def __init__(self, space, *, schedule="constant", **common):
        super().__init__(space, schedule=schedule, **common)

@methods.register
class Long(PCDDARTS):
    name = "long"

    @property
    def recipe(self):
        return replace(super().recipe, epochs=9)

@methods.register
class Alone(Method):
    name = "alone"

    def __init__(self, space, *, alpha_lr=0.5, **common):
        super().__init__(space, alpha_lr=alpha_lr, **common)

    def mixing(self):
        return self.inference()
"""


def test_a_default_of_an_own_method_goes_before_the_rows_that_it_follows(folder):
    (folder / "rules.py").write_text(CYCLE)
    load("rules")
    slow = methods.get("slow", "s3")
    pcd = methods.get("pcd-darts", "s3")
    assert methods.followed("slow") == "pcd-darts"
    assert slow.recipe == pcd.recipe and slow.warmup == pcd.warmup
    assert (slow.decay, pcd.decay) == (0.01, 0.12)
    assert methods.get("slow", "s3", decay=0.2).decay == 0.2


def test_an_own_default_says_which_options_do_something(folder):
    (folder / "rules.py").write_text(CYCLE)
    load("rules")
    fixed = sharp(method="fixed", options={"fixed": 1e-2})
    assert build(fixed, Machine()).method.fixed == 1e-2
    with pytest.raises(ValueError, match="the constant schedule of fixed does not use top"):
        sharp(method="fixed", options={"top": 0.5})


def test_the_length_of_a_search_is_not_of_its_recipe(folder):
    (folder / "rules.py").write_text(CYCLE)
    load("rules")
    with pytest.raises(
        ValueError, match=r"recipe of long must leave epochs at 2.*not 9: .*epochs="
    ):
        build(sharp(method="long"), Machine())


def test_a_method_of_no_parent_follows_the_rows_of_all(folder):
    (folder / "rules.py").write_text(CYCLE)
    load("rules")
    alone = methods.get("alone", "nasbench201").optimizer.param_groups[0]
    assert methods.followed("alone") == "*"
    assert (alone["lr"], alone["weight_decay"]) == (0.5, 0.0)


def test_a_run_names_the_method_whose_rows_it_follows_if_that_is_another(folder):
    load("rules")
    assert sharp().params()["recipe_of"] == "darts"
    assert "recipe_of" not in Experiment().params()
    assert Experiment("darts", "sharp").params()["recipe_of"] == "darts"


# What names a run


def assert_another_run(file, before, after):
    """A run keeps its name until the file is edited."""
    load("rules")
    name = name_of(sharp())
    load("rules")
    assert name_of(sharp()) == name
    edit(file, before, after)
    load("rules")
    assert name_of(sharp()) != name


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("rules.py", "self.start * self.unit", "self.start / self.unit"),
        ("rules.py", "unit = 1.0", "unit = 2.0"),
        ("rules.py", "LOW = 0.1", "LOW = 0.2"),
        ("rules.py", "max(value, LOW)", "max(LOW, value)"),
        ("helpers.py", "RATE = 0.9", "RATE = 0.5"),
        ("helpers.py", "RATE**epoch", "RATE * epoch"),
    ],
)
def test_an_edited_rule_is_another_run_wherever_it_is_edited(file, before, after, folder):
    assert_another_run(folder / file, before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0.9**epoch", "0.8**epoch"),
        ("1.1**epoch", "1.2**epoch"),  # by the lambda
        ("rise(1.0)", "rise(2.0)"),
        ("[fall, len]", "[len, fall]"),
        ("pow, 0.5", "pow, 0.6"),
    ],
)
def test_functions_in_a_table_of_rules_are_followed(before, after, folder):
    (folder / "rules.py").write_text(TABLES)
    assert_another_run(folder / "rules.py", before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("batch=16", "batch=32"),  # a dataclass
        ("{3, 5}", "{3, 7}"),
        ("rate=0.1", "rate=0.2"),  # SimpleNamespace
        ("made(0.5)", "made(0.6)"),  # a closure
        ("ACT = torch.relu", "ACT = torch.tanh"),
        ("NORM = nn.BatchNorm2d", "NORM = nn.InstanceNorm2d"),
        ("[[1.0, 2.0]]", "[[1.0, 3.0]]"),  # an array
        ("[[1.0, 2.0]]", "[[1.0], [2.0]]"),
    ],
)
def test_values_of_other_kinds_are_followed(before, after, folder):
    (folder / "rules.py").write_text(VALUES)
    assert_another_run(folder / "rules.py", before, after)


def test_what_a_rule_does_not_rest_on_is_not_in_its_name(folder):
    load("rules")
    name = name_of(sharp())
    edit(folder / "helpers.py", "return 1", "return 2")
    load("rules")
    assert name_of(sharp()) == name


def test_a_file_that_is_edited_later_does_not_pass_for_the_code_that_runs(folder):
    (rules,) = load("rules")
    name = name_of(sharp())
    edit(folder / "rules.py", "unit = 1.0", "unit = 2.0")
    methods.register(rules.Sharp)
    assert name_of(sharp()) == name


def test_an_edited_space_is_another_run_of_searches_and_of_trainings(folder):
    edges = (
        "[('sep_conv_3x3', 0), ('skip_connect', 1)"
        + ", ('skip_connect', 0), ('avg_pool_3x3', 2)" * 3
        + "]"
    )
    cell = (
        f"Genotype(normal={edges}, normal_concat=[2, 3, 4, 5], reduce={edges}, reduce_concat=[2,"
        " 3, 4, 5])"
    )
    names = []
    for more in ("", ', "sep_conv_5x5"'):
        edit(folder / "cells.py", '"avg_pool_3x3"', f'"avg_pool_3x3"{more}')
        load("cells")
        names.append(
            {name_of(small()), name_of(Evaluation(cell, space="small", channels=4, cells=3))}
        )
    assert len(names[0] | names[1]) == 4


def test_who_edits_a_rule_is_told_in_one_line(folder, tmp_path, capsys):
    machine = Machine(tmp_path / "runs")
    load("rules")
    first = sharp().run(machine)
    assert sharp().run(machine) == first and "source" not in capsys.readouterr().out
    edit(folder / "helpers.py", "RATE = 0.9", "RATE = 0.5")
    load("rules")
    again = sharp().run(machine)
    said = capsys.readouterr().out
    assert (
        said.count("\n") == 1
        and "the source of method 'sharp' has changed since it was run: it is run anew" in said
    )
    temperatures = [[record["temperature"] for record in run.records] for run in (first, again)]
    assert temperatures == [[1.0, 0.9], [1.0, 0.5]]
    assert sharp().run(machine) == again and capsys.readouterr().out == ""


# Other processes


@pytest.mark.slow
def test_own_methods_and_spaces_run_in_other_processes(folder, tmp_path, capsys):
    load("rules", "cells")
    tasks = {"both": sharp(space="small", cells=3, options={"start": 0.5}), "space": small()}
    done = gather(tasks, Machine(tmp_path / "runs"), workers=1)
    assert all(run.result for run in done.values()), capsys.readouterr().out
    assert [r["temperature"] for r in done["both"].records] == [0.5, 0.45]


@pytest.mark.slow
def test_a_process_that_would_run_another_rule_says_so(folder, tmp_path):
    load("rules")
    task = sharp()
    edit(folder / "rules.py", "unit = 1.0", "unit = 2.0")
    (run,) = gather({0: task}, Machine(tmp_path / "runs"), workers=1).values()
    assert (
        "the source of rules.Sharp is not what it was where the method 'sharp' was registered"
        in run.failure["error"]
    )


@pytest.mark.slow
def test_a_module_that_other_processes_cannot_import_is_named(folder, tmp_path, monkeypatch):
    load("rules")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(folder)])
    (run,) = gather({0: sharp()}, Machine(tmp_path / "runs"), workers=1).values()
    assert (
        "No module named 'rules': the processes that run must be able to import it"
        in run.failure["error"]
    )


def test_a_task_takes_its_own_classes_along(folder):
    load("rules")
    task, name = pickle.dumps(sharp()), name_of(sharp())
    methods.registry._classes.pop("sharp")
    assert name_of(pickle.loads(task)) == name and methods.registry.source("sharp")


def test_the_digest_of_a_class_does_not_hang_on_where_it_lies(folder):
    (rules,) = load("rules")
    before = digest(rules.Sharp)
    (folder / "elsewhere.py").write_text(RULES)
    methods.registry._classes.pop("sharp")
    assert digest(importlib.import_module("elsewhere").Sharp) == before
    sys.modules.pop("elsewhere")


# A notebook

DEFINED = """
from nasutils import methods, spaces
from nasutils.methods.darts import DARTS
from nasutils.spaces.darts import DARTS as Cells
from nasutils.sweep.launch import gather
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment

def rate(epoch):
    return {rate}**epoch
"""
REGISTERED = """
@methods.register
class Falling(DARTS):
    name = "falling"

    def begin_epoch(self, epoch):
        self.temperature = rate(epoch)

@spaces.register
class Two(Cells):
    name = "two"
    ops = ("skip_connect", "sep_conv_3x3")
    recipe = methods.Recipe(batch=16)
"""
SEARCHED = """
size = {{"dataset": "digits", "resolution": 8, "images": 32, "evaluation": 16, "channels": 4, "cells": 3, "epochs": 2}}
found = gather({{0: Experiment(space="two", method="falling", **size)}}, Machine({root!r}), workers=1)
print([r["temperature"] for r in found[0].records], found[0].failure)
"""


@pytest.mark.slow
def test_classes_of_a_notebook_run_in_other_processes_and_an_edited_cell_is_another_run(tmp_path):
    manager, client = start_new_kernel(kernel_name="python3", cwd=str(Path(__file__).parents[1]))
    try:
        first = said(
            client, DEFINED.format(rate=0.5), REGISTERED, SEARCHED.format(root=str(tmp_path))
        )
        assert "[1.0, 0.5] None" in first and "has changed" not in first
        # the helper's cell alone
        again = said(client, DEFINED.format(rate=0.25), SEARCHED.format(root=str(tmp_path)))
        assert (
            "[1.0, 0.25] None" in again
            and again.count("the source of method 'falling' has changed") == 1
        )
        assert "has changed" not in said(client, REGISTERED, SEARCHED.format(root=str(tmp_path)))
        assert len(list(tmp_path.glob("*/result.json"))) == 2
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def said(client, *cells):
    """What cells print; their errors, too."""
    texts = []

    def keep(message):
        content = message["content"]
        texts.append(content.get("text") or content.get("evalue") or "")

    for cell in cells:
        client.execute_interactive(cell, output_hook=keep, timeout=200)
    return "".join(texts)
