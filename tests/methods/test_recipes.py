"""The table of recipes: what papers ask, own spaces, revisions,
and that committed runs keep their meaning.

Run: pytest tests/methods/test_recipes.py
"""

import inspect
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nasutils import methods, paths, spaces
from nasutils.methods import Recipe, recipes
from nasutils.methods.base import PRESETS
from nasutils.training.computation import Machine
from nasutils.training.experiment import Experiment, build
from tests.toys import toy_space

OWN = {"alpha_shapes": {"cell": (2, 3)}}


@pytest.mark.parametrize("space", ["darts", "darts7"])
@pytest.mark.parametrize(
    ("name", "batch", "alpha_lr"),
    [("pc-darts", 256, 6e-4), ("drnas", 64, 6e-4), ("darts", 64, 3e-4)],
)
def test_recipes_of_the_authors_code_on_the_darts_space(name, batch, alpha_lr, space):
    method = methods.get(name, spaces.get(space))
    rates = (0.025, 0.001) if name == "darts" else (0.1, 0.0)
    assert (method.recipe.batch, method.recipe.weight_lr, method.recipe.weight_lr_end) == (
        batch,
        *rates,
    )
    assert (method.recipe.epochs, method.recipe.weight_decay) == (50, 3e-4)
    assert [(g["lr"], g["weight_decay"]) for g in method.optimizer.param_groups] == [
        (alpha_lr, 1e-3)
    ] * (2 if name == "pc-darts" else 1)


def test_pc_darts_has_the_recipe_of_darts_on_s1_to_s4_as_in_smoothdarts():
    assert methods.get("pc-darts", spaces.get("s3")).recipe == Recipe(alpha_from=15)


@pytest.mark.parametrize(("name", "epochs"), [("gaea-bilevel", 25), ("drnas", 100)])
def test_gaea_and_drnas_follow_their_own_code_on_nasbench201(name, epochs):
    found = methods.get(name, spaces.get("nasbench201")).recipe
    assert found == Recipe(
        epochs=epochs, batch=64, weight_decay=3e-4, nesterov=False, split="nasbench201"
    )
    assert methods.get(name, spaces.get("nasbench201"), epochs=7).recipe == replace(
        found, epochs=7
    )


def test_every_row_names_what_there_is():
    for row in recipes.TABLE:
        assert set(row.methods.split()) <= {"*", *methods.names}
        assert set(row.spaces.split()) <= {"*", *spaces.names}
        assert row.preset in ("*", *PRESETS) and row.source
        assert row.recipe.keys() <= asdict(Recipe()).keys()
        for name in methods.names if row.methods == "*" else row.methods.split():
            assert row.options.keys() <= set(methods.options(name))


def test_no_method_has_a_branch_for_a_space():
    for name in methods.names:
        for kind in type(methods.get(name, spaces.get("lhd"))).__mro__[:-1]:
            assert "space.name ==" not in inspect.getsource(
                kind
            ) and "space.name in" not in inspect.getsource(kind)


# Spaces of one's own


def test_a_space_without_recipe_is_refused_with_what_to_give():
    space = toy_space("mine", **OWN, recipe=None)
    with pytest.raises(
        ValueError, match=r"no recipe for the space 'mine': give its class `recipe = .*recipe= to "
    ):
        methods.get("darts", space)
    given = Recipe(batch=7, order="weights-first")
    assert methods.get("darts", space, recipe=given).recipe == given


def test_methods_depart_from_the_recipe_that_a_space_brings():
    space = toy_space("mine", **OWN, recipe=Recipe(batch=7))
    assert methods.get("darts", space).recipe == Recipe(batch=7)
    assert methods.get("gaea-erm", space).recipe == Recipe(batch=7, order="together", split="all")
    assert methods.get("pcd-darts", space, decay=0.1, warmup=3).recipe == Recipe(
        batch=7, weight_lr_end=0.025
    )


def test_settings_that_no_paper_has_for_a_space_must_be_given():
    space = toy_space("mine", **OWN)
    with pytest.raises(ValueError, match="sp-darts needs a value for sparse on mine"):
        methods.get("sp-darts", space, ratio=10.0, schedule="linear")
    with pytest.raises(ValueError, match="sparse, ratio, schedule on mine .*no row of methods"):
        methods.get("sp-darts", space)


# Names of runs


def test_a_search_whose_row_changed_has_a_name_of_its_own():
    changed = Experiment("darts", "pc-darts").params()
    assert changed["recipe_revision"] == 2
    for space, method in (
        ("s2", "darts"),
        ("s4", "sp-darts"),
        ("lhd", "pc-darts"),
        ("nasbench201", "darts"),
    ):
        assert "recipe_revision" not in Experiment(space, method).params()


@pytest.mark.parametrize("space", ["darts", "s2", "lhd"])
def test_validation_batches_are_drawn_as_the_released_code_draws_them(space):
    """With a name of their own: earlier searches of that preset drew with replacement."""
    released = Experiment(space, "darts", preset="released")
    assert (
        methods.get("darts", spaces.get(space), preset="released").recipe.valid_batch == "distinct"
    )
    assert released.params()["recipe_revision"] == 2
    nasbench201 = methods.get("darts", spaces.get("nasbench201"), preset="released").recipe
    assert nasbench201.valid_batch == "replacement"


def test_a_whole_number_for_a_float_names_the_same_search():
    """`order` is a whole number by its type and stays one."""
    given = [
        ({"alpha_lr": 1, "order": 2}, {"clip": 5}),
        ({"alpha_lr": 1.0, "order": 2}, {"clip": 5.0}),
    ]
    first, second = (
        Experiment(options=options, recipe=recipe).params() for options, recipe in given
    )
    assert json.dumps(first) == json.dumps(second)
    assert json.dumps(first["options"]) == '{"alpha_lr": 1.0, "order": 2}'


@pytest.mark.parametrize("option", ["seed", "dtype", "device", "epochs", "preset", "recipe"])
def test_a_field_of_a_search_among_the_options_is_refused_with_the_options_there_are(option):
    with pytest.raises(
        ValueError,
        match=f"unknown option of darts '{option}': choose one of 'order', 'temperature', ",
    ):
        build(Experiment(options={option: 3}), Machine())


def followed(name, space, preset):
    """What a search does whose parameters name nothing else."""
    options = methods.parameters(name).items()
    defaults = {name: p.default for name, p in options if p.default is not p.empty}
    recipe = asdict(methods.get(name, space, preset=preset).recipe)
    del recipe["epochs"]
    return {"recipe": recipe, "options": defaults | recipes.default_options(name, space, preset)}


def test_committed_searches_follow_the_recipe_they_followed():
    """Their names hold no defaults: a changed one would make the old runs pass for new ones.

    A row that came later has a revision above 1, by which none of them is named.
    """
    found = [
        json.loads(file.read_text())
        for file in (paths.ROOT / "figures").glob("*/runs/*/params.json")
    ]
    searches = {(p["method"], p["space"], p["preset"]) for p in found if p["kind"] == "search"}
    assert len(searches) > 20
    assert {recipes.revision(*names) for names in searches} == {1}
    kept = json.loads(Path(__file__).with_name("recipes.json").read_text())
    now = {" ".join(names): followed(*names) for names in sorted(searches)}
    assert json.loads(json.dumps(now)) == kept
