"""How far a short training protocol can be trusted:
its rank agreement with cells that were trained in full.

The cells in question: 214 random ones of the DARTS space, trained for 600 epochs on CIFAR-10 with
DARTS's protocol (Yang, Esperanca & Carlucci, "NAS evaluation is frustratingly hard", ICLR 2020;
github.com/antoyang/NAS-Benchmark, GPL-3.0). Their table does not ship here: it is read from a
path, and only figures and aggregates are kept.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from nasutils.data import MissingData
from nasutils.measures import ranking
from nasutils.report import plots
from nasutils.runs import Run
from nasutils.spaces.genotype import Cell, Genotype
from nasutils.training.finalnet import Evaluation

COLUMNS = ("normal", "reduce", "c10_test_final")


def trained_cells(path: str | Path) -> pd.DataFrame:
    """The cells trained in full: columns genotype (text), accuracy (%, CIFAR-10 test, last epoch).

    path: a table (csv, compressed or not) whose columns normal and reduce hold the eight edges of
    a cell as `op:source op:source ...`, and c10_test_final the accuracy. Raises MissingData, or
    ValueError for another table.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingData(
            f"no table of trained cells at {path.absolute()}; github.com/antoyang/NAS-Benchmark"
            " has them"
        )
    table = pd.read_csv(path)
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"{path.name} lacks the columns {missing}; expected {list(COLUMNS)}")
    genotypes = [genotype_of(n, r) for n, r in zip(table["normal"], table["reduce"], strict=True)]
    return pd.DataFrame({"genotype": genotypes, "accuracy": table["c10_test_final"]})


def genotype_of(normal: str, reduce: str) -> str:
    """The genotype of two cells given as `op:source op:source ...`, two edges a node,
    in the field's text form.
    """
    cells = []
    for name, text in (("normal", normal), ("reduce", reduce)):
        pairs = []
        for edge in text.split():
            op, source = edge.split(":")
            pairs.append((op, int(source)))
        nodes = tuple(zip(pairs[::2], pairs[1::2], strict=True))
        cells.append(Cell(name, nodes, (2, 3, 4, 5)))
    text = str(Genotype(tuple(cells)))
    Genotype.parse(text)  # refuses what is no cell
    return text


def sample(cells: pd.DataFrame, count: int) -> pd.DataFrame:
    """So many of the cells, drawn evenly (the same ones every time):
    their spread is that of all.
    """
    return cells.sample(min(count, len(cells)), random_state=0).reset_index(drop=True)


def evaluations(trained: pd.DataFrame, **setting: Any) -> dict[str, Evaluation]:
    """The short training of every cell by genotype; setting: fields of `Evaluation`."""
    return {
        text: Evaluation(genotype=text, space="darts", **setting) for text in trained["genotype"]
    }


def compared(cells: pd.DataFrame, runs: Mapping[str, Run]) -> pd.DataFrame:
    """A row per cell whose short training finished:
    full and short (test accuracy, %), params of the short network.
    """
    rows = []
    for text, accuracy in zip(cells["genotype"], cells["accuracy"], strict=True):
        if result := runs[text].sound_result:
            rows.append((accuracy, result["test_accuracy"], result["params"]))
    return pd.DataFrame(rows, columns=["full", "short", "params"])


def rank_agreement(table: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau and Spearman's rho of the full accuracy with the short one and with the number
    of parameters.

    Intervals: bootstrap over cells, see `ranking.correlation`.
    """
    rows = []
    for against in ("short", "params"):
        for statistic in ("kendall", "spearman"):
            e = ranking.correlation(table["full"].to_numpy(), table[against].to_numpy(), statistic)
            rows.append({"against": against, "statistic": statistic, **asdict(e)})
    return pd.DataFrame(rows)


def scatter(table: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """The short accuracy of each cell against the full one;
    returns the figure and the agreement.
    """
    found = rank_agreement(table)
    tau = found.set_index(["against", "statistic"]).loc[("short", "kendall")]
    figure, ax = plt.subplots(figsize=(0.62 * plots.WIDTH, 3.4))
    edge: Any = {"markeredgecolor": "0.2", "markeredgewidth": 0.4}
    ax.plot(table["full"], table["short"], "o", color="C0", markersize=4, **edge)
    ax.set(
        xlabel="test accuracy in full: 600 epochs, 20 cells of 36 channels (%)",
        ylabel="test accuracy, short protocol (%)",
        title=(
            f"Kendall's τ = {tau['mean']:.2f} [{tau['low']:.2f}, {tau['high']:.2f}],"
            f" {int(tau['n'])} cells"
        ),
    )
    return figure, found
