"""Tables of `notebooks/lhd_benchmark.ipynb`: functions of results that return a table."""

import numpy as np
import pandas as pd
import torch

from nasutils import spaces
from nasutils.measures import ranking
from nasutils.measures import tables as analysis
from nasutils.measures.tables import Estimate
from nasutils.spaces import lhd_cells
from nasutils.spaces.genotype import Cell
from nasutils.studies.lhd_benchmark.released import Conditions
from nasutils.studies.lhd_benchmark.results import (
    SPACES,
    Results,
    deviation,
    separable,
    single_seed_agreement,
)
from nasutils.studies.lhd_benchmark.variants import POLICY_NAMES, SPACE
from nasutils.sweep import planning

TOY_ALPHA = (0.6, 0.0, 0.5, 0.0, 0.1, 0.0, 0.0, 0.0, 0.0, 0.2, 0.0, 0.0, 0.0, 0.3)
TOY_OUTPUT = (0.9, 0.2, 1.0, 0.4, 0.5, 0.1, 0.3, 0.6, 0.2, 0.8, 0.4, 0.3, 0.1, 0.7)
"""The first node of a cell: alpha, and what each operation of its two edges puts out."""
TOY_NODES = {"beta": (0.9, 0.0, 0.6, -0.3, -1.2), "gamma": (0.8, -0.5, 0.1, 0.3, -0.7)}
"""What becomes the weights of its five nodes in the outputs, by softmax and sigmoid."""


def _toy_scores() -> dict[str, torch.Tensor]:
    scores = {name: torch.zeros(shape).double() for name, shape in SPACE.alpha_shapes.items()}
    scores["normal"][:2] = torch.tensor(TOY_ALPHA).double().reshape(2, -1)
    scores["normal_output"] = torch.tensor([*TOY_NODES.values()]).double()
    return scores


def toy() -> pd.DataFrame:
    """One node that should put out 1, with loss (sum of p_k o_k - 1)^2: weights, gradient, and
    what policies keep.

    All operations of both edges compete. formula and autograd: the gradient in alpha.
    """
    alpha = torch.tensor(TOY_ALPHA, dtype=torch.float64, requires_grad=True)
    output = torch.tensor(TOY_OUTPUT, dtype=torch.float64)
    p = torch.softmax(alpha, 0)
    error = p @ output - 1
    g = 2 * error * output
    places = [(source, op) for source in (0, 1) for op in SPACE.ops]
    columns = {
        "alpha": alpha.detach(),
        "puts out": output,
        "p": p.detach(),
        "formula": (p * (g - p @ g)).detach(),
        "autograd": torch.autograd.grad(error**2, alpha)[0],
    }
    table = pd.DataFrame({name: column.numpy() for name, column in columns.items()})
    table.insert(0, "operation", [op.replace("_", " ") for _, op in places])
    table.insert(0, "edge", ["from the sum" if not s else "from the concat" for s, _ in places])
    for policy in ("base", "3ops"):
        kept = {(source, op) for op, source in _toy_cell(policy).nodes[0]}
        table[policy] = ["kept" if place in kept else "" for place in places]
    return table


def toy_outputs() -> pd.DataFrame:
    """The five nodes of that cell: their weights in its outputs, and where policies put them."""
    scores = _toy_scores()["normal_output"]
    beta, gamma = torch.softmax(scores[0], 0), torch.sigmoid(scores[1])
    table = pd.DataFrame({"node": range(2, 2 + len(beta)), "beta": beta, "gamma": gamma})
    for policy in ("base", "4out"):
        cell = _toy_cell(policy)
        for name, chosen in (("sum", cell.sum), ("concat", cell.output)):
            table[f"{name}, {policy}"] = ["yes" if n in chosen else "" for n in table["node"]]
    return table


def _toy_cell(policy: str) -> Cell:
    mix = SPACE.relax(_toy_scores(), lambda scores: torch.softmax(scores, -1))
    return SPACE.discretize(mix, policy).cells[0]


DARTS_REAL = pd.DataFrame(
    {
        "quantile": ["lowest", "5 %", "25 %", "median", "75 %", "95 %", "highest"],
        "best test accuracy (%)": [96.18, 96.63, 96.90, 97.07, 97.19, 97.34, 97.56],
    }
)
"""Quantiles of the best CIFAR-10 test accuracy (%) of 214 random cells of the DARTS space, each
trained for 600 epochs by Yang, Esperanca and Carlucci, "NAS evaluation is frustratingly hard",
ICLR 2020. Aggregates drawn from their data."""


def spaces_table(results: Results) -> pd.DataFrame:
    """Both spaces: size, and random networks:
    mean, deviation, noise (between evaluation seeds), pairs told apart.
    """
    sizes = {
        "lhd": lhd_cells.count_architectures(),
        "darts": spaces.get("darts7").num_architectures,
    }
    rows = []
    for space, name in SPACES.items():
        scores = results.drawn(space)
        params = results.kind("random").query("method == @space")["params"]
        enough = len(scores) > 1
        rows.append(
            {
                "space": name,
                "architectures": f"{sizes[space]:.2g}",
                "networks": len(scores),
                "mean": np.nanmean(scores) if len(scores) else np.nan,
                "deviation": deviation(scores) if enough else np.nan,
                "lowest": np.nanmin(scores) if len(scores) else np.nan,
                "highest": np.nanmax(scores) if len(scores) else np.nan,
                "noise": (
                    np.sqrt(scores.var(axis=1, ddof=1).mean())
                    if enough and scores.shape[1] > 1
                    else np.nan
                ),
                "pairs_apart": separable(scores) if enough else np.nan,
                "params": params.mean() / 1e6,
                "step_seconds": results.steps[space].median(),
            }
        )
    return pd.DataFrame(rows)


def main_table(results: Results) -> pd.DataFrame:
    """A row per method and condition: mean accuracy (%) over search seeds, its interval,
    parameters (M).

    n: search seeds. Data sets whose images were not there have rows without numbers.
    """
    scores, rows = results.scores(), []
    own = results.own[results.own["budget"] == results.budgets[0]]
    params = own.groupby(["method", "target", "policy"])["params"].mean() / 1e6
    for m, method in enumerate(results.methods):
        for d, dataset in enumerate(results.datasets):
            for p, policy in enumerate(POLICY_NAMES):
                e = analysis.estimate(scores[m, d, p])
                row = {"method": method, "dataset": dataset, "policy": policy, "n": e.n}
                size = params.get((method, dataset, policy), np.nan)
                rows.append(row | e.columns("accuracy") | {"params": size})
        rows += [
            {"method": method, "dataset": name, "policy": policy, "n": 0}
            for name in results.missing
            for policy in POLICY_NAMES
        ]
    return pd.DataFrame(rows)


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """The same for display: a row per method, a column per condition such as `cifar10, base`:
    `mean ± half interval (parameters in M)`. Without data sets whose images were not there.
    """
    table = table[table["n"] > 0]
    half = (table["accuracy_high"] - table["accuracy"]).fillna(0)
    text = [
        f"{a:.1f}{f' ± {h:.1f}' if h else ''} ({size:.3g} M)"
        for a, h, size in zip(table["accuracy"], half, table["params"], strict=True)
    ]
    named = table.assign(text=text, condition=table["dataset"] + ", " + table["policy"])
    shown = named.pivot(index="method", columns="condition", values="text")
    return shown.loc[table["method"].unique(), named["condition"].unique()].reset_index()


def cost_table(results: Results) -> pd.DataFrame:
    """What was measured: minutes of a search, peak memory of its process (GiB),
    minutes of a final network.
    """
    rows = [
        {
            "budget": key.budget,
            "method": key.method,
            "search_minutes": planning.seconds(run.records) / 60,
            "peak_memory": (
                max((r["cost"]["peak_memory_bytes"] for r in run.records), default=np.nan) / 2**30
            ),
        }
        for key, (_, run) in results.searches.items()
    ]
    means = pd.DataFrame(rows).groupby(["budget", "method"], sort=False).mean()
    own = results.own.groupby(["budget", "method"], sort=False)["seconds"].mean() / 60
    return means.join(own.rename("final_minutes")).reset_index()


def rank_table(results: Results) -> tuple[pd.DataFrame, dict[str, float]]:
    """A row per method, the best first: average rank over the conditions, how often first, and how
    much better its networks are than those of Random, by data set (points, mean of the policies;
    intervals hold for all methods together).

    The second value: what chance does to average ranks (`ranking.permuted`): difference from which
    two methods are told apart, p of their differing at all; and conditions, how many are complete
    and so count.
    """
    means = results.by_condition()
    complete = ~np.isnan(means).any(axis=0)
    placed = ranking.ranks(means[:, complete].T)
    table = pd.DataFrame({"method": results.methods, "rank": placed.mean(axis=0)})
    table["first"] = (placed == placed.min(axis=1, keepdims=True)).sum(axis=0)
    for d, dataset in enumerate(results.datasets):
        table = table.join(_contrasts(results, d, dataset))
    drawn = ranking.permuted(results.scores()).reshape(ranking.DRAWS, *means.shape)
    chance = ranking.average_ranks(drawn[:, :, complete])
    found = {
        "difference": ranking.critical_difference(chance),
        "p": ranking.differ(table["rank"].to_numpy(), chance),
        "conditions": int(complete.sum()),
    }
    return table.sort_values("rank", ignore_index=True), found


def _contrasts(results: Results, place: int, dataset: str) -> pd.DataFrame:
    """Columns named by the data set, in the order of the methods; none without Random, which is
    the control, or with a search missing.
    """
    searches = results.scores()[:, place].mean(axis=1)  # (methods, seeds)
    if results.methods[0] != "Random" or len(searches) < 2 or np.isnan(searches).any():
        return pd.DataFrame(index=range(len(searches)))
    rows = [e.columns(dataset) for e in ranking.contrasts(searches)]
    return pd.DataFrame([{dataset: 0.0}, *rows])


COMPARISONS = {
    "search seed only": (True, True),
    "policy": (True, False),
    "data set": (False, True),
    "both": (False, False),
}
"""What two rankings differ in -> whether they have the data set and the policy in common."""


def agreement_matrix(scores: np.ndarray) -> np.ndarray:
    """Kendall's tau between the rankings of all conditions: (..., methods, n) -> (..., n, n)."""
    columns = np.swapaxes(scores, -1, -2)
    return ranking.kendall(columns[..., :, None, :], columns[..., None, :, :])


def agreement_table(results: Results) -> pd.DataFrame:
    """How far rankings agree (Kendall's tau) that differ in policy, data set or both.

    tau: of the mean rankings over seeds, its interval from resampled search seeds (which add
    noise: it lies rather low). single: of rankings of two single, different seeds, see
    `ranking.over_pairs`; to be read against the first row, which differs in the seed only.
    """
    resampled = ranking.resampled(results.scores())
    draws = agreement_matrix(resampled.reshape(*resampled.shape[:2], -1))
    matrix = agreement_matrix(results.by_condition())
    conditions = np.array(results.conditions)
    same = [conditions[:, None, k] == conditions[None, :, k] for k in range(2)]
    rows = []
    for name, (dataset, policy) in COMPARISONS.items():
        single = ranking.over_pairs(single_seed_agreement(results, dataset, policy))
        pairs = (same[0] == dataset) & (same[1] == policy) & ~np.eye(len(conditions), dtype=bool)
        e = _mean_tau(matrix, draws, pairs, len(results.seeds))
        taus = e.columns("tau") | single.columns("single")
        rows.append({"rankings differ in": name, **taus, "n": single.n})
    return pd.DataFrame(rows)


def _mean_tau(matrix: np.ndarray, draws: np.ndarray, pairs: np.ndarray, n: int) -> Estimate:
    if not pairs.any() or np.isnan(matrix[pairs]).all():
        return Estimate(np.nan, np.nan, np.nan, 0)
    return ranking.interval(float(np.nanmean(matrix[pairs])), ranking.mean(draws[:, pairs]), n)


def discernibility_table(results: Results) -> pd.DataFrame:
    """Per condition the share of pairs of methods told apart (Welch, 95 %;
    without any difference 0.05).
    """
    scores = results.scores()
    found = [
        {"dataset": dataset, "policy": policy, "told_apart": ranking.told_apart(scores[:, d, p].T)}
        for d, dataset in enumerate(results.datasets)
        for p, policy in enumerate(POLICY_NAMES)
    ]
    return pd.DataFrame(found)


def budget_ranks(results: Results) -> pd.DataFrame:
    """Under `base`: mean accuracy and rank of each method on each data set under every budget."""
    tables = []
    for kind in results.budgets:
        # (methods, data sets)
        means = ranking.mean(results.scores(kind))[:, :, POLICY_NAMES.index("base")]
        places = ranking.ranks(means.T).T
        for d, dataset in enumerate(results.datasets):
            values = {"accuracy": means[:, d], "rank": places[:, d]}
            tables.append(
                pd.DataFrame(
                    {"budget": kind, "dataset": dataset, "method": results.methods, **values}
                )
            )
    return pd.concat(tables, ignore_index=True)


def budget_agreement(results: Results) -> pd.DataFrame:
    """Kendall's tau between the rankings under the first and each other budget, `base`;
    interval: resampled seeds.
    """
    base, rows = POLICY_NAMES.index("base"), []
    first = results.budgets[0]
    for kind in results.budgets[1:]:
        scores = [results.scores(b)[:, :, [base]] for b in (first, kind)]
        # the same seeds for both: the same searches where budgets coincide
        draws = [ranking.resampled(s) for s in scores]
        for d, dataset in enumerate(results.datasets):
            means = [ranking.mean(s)[:, d, 0] for s in scores]
            found = ranking.kendall(*(x[:, :, d, 0] for x in draws))
            e = ranking.interval(float(ranking.kendall(*means)), found, len(results.seeds))
            row = {"budgets": f"{first}, {kind}", "dataset": dataset}
            rows.append(row | e.columns("tau") | {"n": e.n})
    return pd.DataFrame(rows, columns=["budgets", "dataset", "tau", "tau_low", "tau_high", "n"])


def transferred(results: Results) -> pd.DataFrame:
    """`base`: accuracy (%) of every network by the data set of its search, and of its training:
    method, searched, target, trial, accuracy. Only of targets with more than one source.
    """
    table = results.kind("final")
    table = table[(table["policy"] == "base") & (table["budget"] == results.budgets[0])]
    keys = ["method", "searched", "target", "seed"]
    means = table.groupby(keys, sort=False)["accuracy"].mean().reset_index()
    return _moved(means.rename(columns={"seed": "trial"}))


def released_transferred(conditions: Conditions) -> pd.DataFrame:
    """The same of released architectures."""
    found = [
        {"method": method, "searched": c.searched, "target": c.target, "trial": trial}
        | {"accuracy": accuracy}
        for c in conditions.values()
        if c.policy == "base"
        for method, row in zip(c.methods, c.accuracy, strict=True)
        for trial, accuracy in enumerate(row, 1)
    ]
    return _moved(
        pd.DataFrame(found, columns=["method", "searched", "target", "trial", "accuracy"])
    )


def _moved(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of targets for which architectures of several data sets were trained."""
    sources = table.groupby("target")["searched"].transform("nunique")
    return table[sources > 1].reset_index(drop=True)


def protocol_table(results: Results) -> pd.DataFrame:
    """What the released evaluation does to an accuracy (points),
    paired over the cells that were tested both ways.

    selection: best of the tests in the last third minus the last, clean images. images: augmented
    minus clean test images, last epoch. both: what is reported, released minus published. tau: of
    the rankings of the two.
    """
    keys = ["budget", "method", "target", "seed", "eval_seed"]
    clean = results.own.query("policy == 'base'").set_index(keys)[["accuracy", "best"]]
    released = (
        results.kind("released").set_index(keys)[["accuracy", "best"]].add_suffix("_released")
    )
    both = clean.join(released, how="inner").reset_index()
    rows = []
    for dataset, part in both.groupby("target", sort=False):
        effects = {
            "selection": part["best"] - part["accuracy"],
            "images": part["accuracy_released"] - part["accuracy"],
            "both": part["best_released"] - part["accuracy"],
        }
        row: dict[str, object] = {"dataset": dataset}
        for name, values in effects.items():
            row |= analysis.estimate(values).columns(name)
        tau = ranking.correlation(part["accuracy"].to_numpy(), part["best_released"].to_numpy())
        rows.append(row | tau.columns("tau") | {"n": len(part)})
    return pd.DataFrame(rows)


def proxy_pairs(results: Results) -> pd.DataFrame:
    """The cells that were trained twice, as the benchmark does and longer:
    method, accuracy, longer.
    """
    keys = ["budget", "method", "searched", "target", "policy", "seed", "eval_seed"]
    own, longer = (
        results.own.set_index(keys)["accuracy"],
        results.kind("long").set_index(keys)["accuracy"],
    )
    return pd.concat({"accuracy": own, "longer": longer}, axis=1, join="inner").reset_index()


def proxy_agreement(results: Results) -> pd.DataFrame:
    """Rank agreement of the benchmark's training with a longer one,
    its intervals from resampled cells.
    """
    pairs = proxy_pairs(results)
    rows = []
    for kind in ("kendall", "spearman"):
        e = ranking.correlation(pairs["accuracy"].to_numpy(), pairs["longer"].to_numpy(), kind)
        rows.append({"correlation": kind, **e.columns("value"), "n": e.n})
    return pd.DataFrame(rows)


def noise_table(results: Results) -> pd.DataFrame:
    """Deviation (points) between evaluation seeds of one cell,
    and between search seeds of one method, `base`.
    """
    table = results.own.query("policy == 'base'")
    rows = []
    for dataset, part in table.groupby("target", sort=False):
        cells = part.groupby(["budget", "method", "seed"])["accuracy"]
        found = cells.mean().groupby(["budget", "method"])
        pooled = [float(np.sqrt((d**2).mean())) for d in (cells.std(ddof=1), found.std(ddof=1))]
        rows.append({"dataset": dataset, "evaluation_seeds": pooled[0], "search_seeds": pooled[1]})
    return pd.DataFrame(rows)
