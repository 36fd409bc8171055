"""Genotypes as values: both text forms, equality, refusal."""

import json
import os
import re
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from nasutils import Genotype, methods, spaces

NB201 = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|skip_connect~2|"
DARTS_V2 = """DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0),
  ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)],
  normal_concat=range(2, 6),
  reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0),
  ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"""

LHD = (
    "Genotype(normal=[[('skip_connect', 0), ('sep_conv_5x5', 0)], [], [('max_pool_3x3', 2)]],"
    " normal_sum=[4], normal_concat=[2, 4], reduce=[[('avg_pool_3x3', 1)]], reduce_sum=[2],"
    " reduce_concat=[2])"
)


@pytest.mark.parametrize("text", [NB201, DARTS_V2, LHD])
def test_text_round_trip(text):
    genotype = Genotype.parse(text)
    assert Genotype.parse(str(genotype)) == genotype
    assert len({genotype, Genotype.parse(str(genotype))}) == 1


def test_a_namedtuple_of_darts_is_a_genotype():
    form = namedtuple("Genotype", "normal normal_concat reduce reduce_concat")
    edges = [("sep_conv_3x3", 0), ("skip_connect", 1)]
    genotype = Genotype.parse(form(edges, range(2, 3), edges, [2]))
    text = f"Genotype(normal={edges}, normal_concat=[2], reduce={edges}, reduce_concat=[2])"
    assert genotype == Genotype.of(form(edges, [2], edges, [2])) == Genotype.parse(text)


def test_a_structure_of_autodl_is_a_genotype():
    assert Genotype.parse(f"Structure(4 nodes with {NB201})") == Genotype.parse(NB201)
    with pytest.raises(ValueError, match="expected"):
        Genotype.parse("Structure(4 nodes with nothing)")


def test_the_name_of_a_published_cell_is_told_where_its_genotype_is():
    with pytest.raises(ValueError, match=r"spaces\.catalogue\.get\('DARTS_V2'\)\.genotype$"):
        Genotype.parse("DARTS_V2")
    with pytest.raises(ValueError, match="expected") as refused:
        Genotype.parse("|skip~0|x")
    assert "catalogue" not in str(refused.value)


def test_darts_text_reads_into_nodes():
    normal, reduce = Genotype.parse(DARTS_V2).cells
    assert (normal.name, reduce.name) == ("normal", "reduce")
    assert normal.nodes[3] == (("skip_connect", 0), ("dil_conv_3x3", 2))
    assert normal.output == (2, 3, 4, 5)


def test_darts_text_is_printed_in_the_usual_order():
    normal, reduce = (
        "[('skip_connect', 0), ('skip_connect', 1)]",
        "[('max_pool_3x3', 1), ('none', 0)]",
    )
    swapped = (
        f"Genotype(reduce={reduce}, reduce_concat=range(2, 3), normal={normal},"
        " normal_concat=(2,))"
    )
    usual = f"Genotype(normal={normal}, normal_concat=[2], reduce={reduce}, reduce_concat=[2])"
    assert str(Genotype.parse(swapped)) == usual
    assert Genotype.parse(swapped) == Genotype.parse(usual)


def test_lhd_text_reads_into_nodes_of_any_number_of_edges():
    normal, reduce = Genotype.parse(LHD).cells
    assert normal.nodes == ((("skip_connect", 0), ("sep_conv_5x5", 0)), (), (("max_pool_3x3", 2),))
    assert (normal.sum, normal.output, reduce.sum, reduce.output) == ((4,), (2, 4), (2,), (2,))
    assert str(Genotype.parse(LHD)) == LHD


def test_nasbench201_text_is_unchanged():
    assert str(Genotype.parse(NB201)) == NB201


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "",
        "Genotype()",
        "not a Genotype(normal=[('skip', 0), ('skip', 1)], normal_concat=[2])",
        "Genotype(normal=[('skip', 0), ('skip', 2)], normal_concat=[2])",
        "Genotype(normal=[('skip', 0), ('skip', 0.5)], normal_concat=[2])",
        "Genotype(normal=[('skip', 0), (3, 1)], normal_concat=[2])",
        "Genotype(normal=[('skip', 0), ('skip', 1)], normal_concat='all')",
        "Genotype(normal=[('skip', 0), ('skip', 1)], normal_concat=[2]",
        "Genotype(recurrent=[('relu', 0), ('relu', 1)], concat=[1, 2])",
        "|skip_connect~1|",
        "|skip_connect~0|+|none~0|",
        "|skip~0|x",
        "Genotype(normal=[('skip', 0)], normal_concat=[2])",
        "Genotype(normal=[('skip', 0), ('skip', 1)])",
        "Genotype(normal=[[('skip', 0)], [('skip', 3)]], normal_sum=[2], normal_concat=[2])",
        "Genotype(normal=[('skip', 0), ('skip', 1)], normal_sum=[2], normal_concat=[2])",
        "Genotype(normal=[[('skip', 0)]], normal_sum=['2'], normal_concat=[2])",
        "Genotype(normal=[[('skip', 0)]], normal_sum=[2])",
        "Genotype(normal=[[('skip', 0, 1)]], normal_sum=[2], normal_concat=[2])",
        "Genotype(normal=__import__('os').listdir(), normal_concat=[2])",
    ],
)
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        Genotype.parse(text)


def test_a_refusal_says_what_is_wrong():
    with pytest.raises(ValueError, match="normal_concat is missing"):
        Genotype.parse("Genotype(normal=[('skip', 0), ('skip', 1)])")
    with pytest.raises(ValueError, match="in the normal cell: two edges per node, not 1 in all"):
        Genotype.parse("Genotype(normal=[('skip', 0)], normal_concat=[2])")


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (
            "[('a', 0), ('a', 1), ('a', 0), ('skip', 3)]",
            r"reduce[3]: node 3 takes ('op', 0 to 2), not ('skip', 3)",
        ),
        (
            "[('a', 0), 'b', ('a', 0), ('a', 1)]",
            r"reduce[1]: node 2 takes ('op', 0 to 1), not 'b'",
        ),
        ("[('a', 0), ('a', 1, 2)]", r"reduce[1]: node 2 takes ('op', 0 to 1), not ('a', 1, 2)"),
        ("[('a', -1), ('a', 1)]", r"reduce[0]: node 2 takes ('op', 0 to 1), not ('a', -1)"),
    ],
)
def test_a_bad_edge_is_named_with_its_cell_and_place(cell, says):
    good = "normal=[('a', 0), ('a', 1)], normal_concat=[2]"
    with pytest.raises(ValueError, match=f"in the reduce cell, {re.escape(says)}"):
        Genotype.parse(f"Genotype({good}, reduce={cell}, reduce_concat=[2])")
    nodes = "[[('a', 0)], [('a', 0), ('a', 3)]]"
    with pytest.raises(
        ValueError, match=r"in the normal cell, normal\[1\]\[1\]: node 3 takes .*not \('a', 3\)"
    ):
        Genotype.parse(f"Genotype(normal={nodes}, normal_sum=[2], normal_concat=[2])")


@pytest.mark.skipif(
    "NASUTILS_TRUTH" not in os.environ, reason="NASUTILS_TRUTH names no folder with genotypes.json"
)
def test_published_genotypes_round_trip():
    known = json.loads((Path(os.environ["NASUTILS_TRUTH"]) / "genotypes.json").read_text())[
        "genotypes"
    ]
    darts = [g for g in known.values() if g["space"] == "darts-cnn"]
    assert darts
    for g in darts:
        genotype = Genotype.parse(g["text"])
        assert Genotype.parse(str(genotype)) == genotype
        assert [
            [list(pair) for node in cell.nodes for pair in node] for cell in genotype.cells
        ] == [
            g["normal"],
            g["reduce"],
        ]


@pytest.mark.parametrize("space", ["darts", "s3", "lhd"])
def test_a_genotype_is_checked_without_a_network(space, monkeypatch):
    """A plan has hundreds of them."""
    known = spaces.get(space)
    genotype = str(methods.get("random", known, seed=1).genotype())
    monkeypatch.setattr(type(known), "finalnet", None)
    known.check_genotype(genotype)
    with pytest.raises(ValueError, match="sep_conv_9x9"):
        known.check_genotype(re.sub(r"'(\w+_\w+)', 0", "'sep_conv_9x9', 0", genotype, count=1))


@pytest.mark.parametrize("name", ["nasbench201", "darts", "s1", "lhd"])
def test_weights_that_are_not_finite_are_not_ranked(name):
    space = spaces.get(name)
    mix = {cell: torch.full(shape, torch.nan) for cell, shape in space.alpha_shapes.items()}
    with pytest.raises(ValueError, match=f"must be finite, those of {next(iter(mix))}"):
        space.discretize(mix)
