"""The graph of an LHD cell, what a genotype must satisfy to be one of its cells,
and how many cells there are.
"""

from math import comb, prod

from nasutils.errors import choose
from nasutils.spaces.genotype import Cell, Genotype
from nasutils.spaces.graph import edges_between, incoming_edges

NODES = 5
CELL_TYPES = ("normal", "reduce")
OPS = (
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
EDGES = edges_between(NODES)
"""(source, target) of the 20 edges in the order of the rows of alpha; 0 and 1 are the cell's
inputs: the sum and the concatenation that the cell before put out."""
INCOMING = incoming_edges(EDGES)


def check_genotype(genotype: Genotype) -> None:
    """Raise ValueError, with the cell, the place and the reason,
    unless the genotype is one of LHD.

    Nodes that no output needs are empty, so nothing may come from an empty node.
    """
    names = [cell.name for cell in genotype.cells]
    if names != list(CELL_TYPES):
        raise ValueError(f"a genotype of lhd has the cells normal and reduce, not {names}")
    for cell in genotype.cells:
        if len(cell.nodes) != NODES:
            raise ValueError(
                f"the {cell.name} cell of lhd has {NODES} nodes, not {len(cell.nodes)}"
            )
        for target, pairs in enumerate(cell.nodes, start=2):
            for op, source in pairs:
                choose(
                    f"operation of edge {source} -> {target} in the {cell.name} cell of lhd",
                    op,
                    OPS,
                )
        _check_connections(cell)


def _check_connections(cell: Cell) -> None:
    filled = {target for target, pairs in enumerate(cell.nodes, start=2) if pairs}
    for target, pairs in enumerate(cell.nodes, start=2):
        for op, source in pairs:
            if not (0 <= source < target and (source < 2 or source in filled)):
                raise ValueError(
                    f"node {target} of the {cell.name} cell takes {op} from {source}, which has no"
                    " value"
                )
    for name, output in (("sum", cell.sum), ("concat", cell.output)):
        if not output or sorted(set(output) & filled) != list(output):
            allowed = f"nodes of {sorted(filled)} in ascending order"
            raise ValueError(f"{cell.name}_{name} takes {allowed}, not {list(output)}")


def operator_choices(ops: int = 2) -> int:
    """Ways to keep `ops` of the 7 operations on each of the edges into a node,
    of all nodes of a cell.

    2: 91 * 210 * 378 * 595 * 861 = 3,700,603,916,100.
    """
    return prod(comb(len(OPS) * len(edges), ops) for edges in INCOMING)


def output_choices(outputs: int | None = None) -> int:
    """Sets of nodes that a cell's output may take: of `outputs` nodes;
    None: some but not all (above a mean).
    """
    return 2**NODES - 2 if outputs is None else comb(NODES, outputs)


def count_architectures(ops: int = 2, outputs: int | None = None) -> int:
    """Pairs of a normal and a reduction cell, as a policy that keeps these numbers selects them.

    In closed form: per node the choices of `ops` among its (edge, operation) pairs, times those of
    the two outputs. Nodes that reach no output count, too.
    """
    return (operator_choices(ops) * output_choices(outputs) ** 2) ** 2
