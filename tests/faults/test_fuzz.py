"""Values that a machine thinks up: whatever is asked for,
the answer is a value or a ValueError with a short text.

A small budget that is the same every time; for more: pytest tests/faults/test_fuzz.py
--hypothesis-profile=long

Run: pytest tests/faults/test_fuzz.py
"""

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from nasutils import Genotype, methods, spaces
from nasutils.errors import MissingData
from nasutils.report import params
from nasutils.runs import key
from nasutils.studies.confirmation.plan import Study
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation

USUAL = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
settings.register_profile("short", max_examples=60, derandomize=True, **USUAL)
settings.register_profile("long", max_examples=5000, **USUAL)
settings.load_profile("short")

LONGEST = 3000
"""Characters of an error, of which most quote what was given."""

plain = some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20)
values = some.recursive(
    plain,
    lambda v: some.lists(v, max_size=3) | some.dictionaries(some.text(max_size=9), v, max_size=3),
)
anything = (
    values
    | some.binary(max_size=5)
    | some.complex_numbers()
    | some.sets(some.integers(), max_size=3)
)
operations = some.sampled_from(
    ["none", "skip_connect", "nor_conv_3x3", "sep_conv_3x3", "max_pool_3x3", "", "a b", "'"]
)
pairs = some.tuples(operations, some.integers(-2, 9))
nodes = some.lists(pairs, max_size=9) | some.lists(some.lists(pairs, max_size=3), max_size=5)
numbers = some.lists(some.integers(-2, 9), max_size=5)


def refused_or(make):
    """What is made, None if it is refused with a short text."""
    try:
        return make()
    except (ValueError, MissingData) as refused:
        said = str(refused)
    assert 0 < len(said) < LONGEST
    return None


def reads_back(text):
    """A text is refused, or is the genotype that is printed."""
    genotype = refused_or(lambda: Genotype.parse(text))
    assert genotype is None or Genotype.parse(str(genotype)) == genotype
    return genotype


# Genotypes


@given(some.text(alphabet="|+~0123 none_skip()[]=,'", max_size=60))
def test_any_text_is_a_genotype_or_refused(text):
    reads_back(text)


@given(some.text(max_size=200))
def test_any_text_in_a_genotype_is_refused_or_reads_back(text):
    reads_back(f"Genotype({text})")


@given(nodes, numbers, numbers)
def test_cells_of_any_shape_read_back_or_are_refused(normal, concat, added):
    for extra in ("", f", normal_sum={added}"):
        reads_back(f"Genotype(normal={normal}, normal_concat={concat}{extra})")


@given(some.lists(some.lists(pairs, max_size=4), max_size=4))
def test_edges_of_any_shape_read_back_or_are_refused(cell):
    reads_back(
        "+".join("|" + "|".join(f"{op}~{source}" for op, source in node) + "|" for node in cell)
    )


def test_the_genotypes_that_are_made_up_are_not_all_refused():
    assert reads_back("Genotype(normal=[('none', 0), ('a b', 1)], normal_concat=[2])") is not None
    assert (
        reads_back("Genotype(normal=[[('none', 0)], []], normal_concat=[2], normal_sum=[3])")
        is not None
    )


@given(some.sampled_from(spaces.names), nodes, numbers)
def test_a_space_builds_a_genotype_or_refuses_it(space, normal, concat):
    cell = f"={normal}, {{}}_concat={concat}"
    text = f"Genotype(normal{cell.format('normal')}, reduce{cell.format('reduce')})"
    refused_or(lambda: Evaluation(text, space=space))


# Searches and trainings


FIELDS = sorted(Experiment.__dataclass_fields__)


@given(some.dictionaries(some.sampled_from(FIELDS), anything, max_size=4))
def test_a_search_has_a_name_or_is_refused(fields):
    made = refused_or(lambda: Experiment(**fields))
    assert made is None or len(key(made.params())) == 12


@given(some.dictionaries(some.sampled_from(["options", "recipe", "stop"]), anything, min_size=1))
def test_departures_of_a_search_have_a_name_or_are_refused(fields):
    made = refused_or(lambda: Experiment(**fields))
    assert made is None or len(key(made.params())) == 12


TRAINED = sorted(Evaluation.__dataclass_fields__)
CELL = {"genotype": "|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"}


@given(some.dictionaries(some.sampled_from(TRAINED), anything, max_size=4))
def test_a_training_has_a_name_or_is_refused(fields):
    made = refused_or(lambda: Evaluation(**{**CELL, **fields}))
    assert made is None or len(key(made.params())) == 12


@given(
    some.dictionaries(
        some.sampled_from(["epochs", "lr", "batch", "clip", "drop_path_growth", "x"]), anything
    )
)
def test_a_protocol_is_taken_or_refused(protocol):
    refused_or(lambda: Evaluation(**CELL, protocol=protocol))


OPTIONS = sorted((name, option) for name in methods.names for option in methods.options(name))


@given(some.sampled_from(OPTIONS), anything)
def test_an_option_of_any_method_is_taken_or_refused(which, value):
    name, option = which
    refused_or(lambda: methods.get(name, spaces.get("nasbench201"), **{option: value}))


@given(
    some.sampled_from(methods.names) | some.text(max_size=9),
    some.sampled_from(["seed", "preset", "x"]),
    anything,
)
def test_a_method_is_made_or_refused(name, argument, value):
    refused_or(lambda: methods.get(name, spaces.get("nasbench201"), **{argument: value}))


# YAML


@given(some.text(max_size=80) | values.map(yaml.safe_dump))
def test_a_plan_in_any_yaml_is_refused(text):
    with pytest.raises((ValueError, yaml.YAMLError)):
        Study.model_validate(yaml.safe_load(text))


DECLARED = params.declared("sparsification")


@given(some.dictionaries(some.sampled_from(sorted(DECLARED)), values, max_size=4))
def test_parameters_of_a_notebook_from_any_yaml_are_taken_or_refused(given):
    given = yaml.safe_load(yaml.safe_dump(given))
    refused_or(lambda: params.validate(DECLARED, {**params.defaults("sparsification"), **given}))


def test_parameters_that_double_line_by_line_are_refused():
    """The bomb of YAML: every list holds ten times the one before, here 10^12 texts."""
    lines = [
        "a0: &a0 [x]",
        *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 13)),
    ]
    bomb = yaml.safe_load("\n".join(lines))["a12"]
    with pytest.raises(params.BadParameters, match="seeds"):
        params.validate(DECLARED, {**params.defaults("sparsification"), "seeds": bomb})
