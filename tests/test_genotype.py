"""Genotypes as values: both text forms, equality, refusal."""

import pytest

from nasutils import Genotype

NB201 = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|skip_connect~2|"
DARTS_V2 = """DARTS_V2 = Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0),
  ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)],
  normal_concat=range(2, 6),
  reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0),
  ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"""


@pytest.mark.parametrize("text", [NB201, DARTS_V2])
def test_text_round_trip(text):
    genotype = Genotype.parse(text)
    assert Genotype.parse(str(genotype)) == genotype
    assert len({genotype, Genotype.parse(str(genotype))}) == 1


def test_darts_text_reads_into_nodes():
    normal, reduce = Genotype.parse(DARTS_V2).cells
    assert (normal.name, reduce.name) == ("normal", "reduce")
    assert normal.nodes[3] == (("skip_connect", 0), ("dil_conv_3x3", 2))
    assert normal.output == (2, 3, 4, 5)


def test_nasbench201_text_is_unchanged():
    assert str(Genotype.parse(NB201)) == NB201


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "|skip_connect~1|",
        "|skip_connect~0|+|none~0|",
        "|skip~0|x",
        "Genotype(normal=[('skip', 0)], normal_concat=[2])",
        "Genotype(normal=[('skip', 0), ('skip', 1)])",
        "Genotype(normal=__import__('os').listdir(), normal_concat=[2])",
    ],
)
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        Genotype.parse(text)
