"""Tables of `notebooks/lhd_benchmark.ipynb`: functions of results that return a table."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from nasutils import spaces
from nasutils.measures import ranking
from nasutils.measures.estimates import Estimate, estimate
from nasutils.spaces import lhd_cells
from nasutils.spaces.genotype import Cell
from nasutils.studies.lhd_benchmark.released import Condition, Conditions
from nasutils.studies.lhd_benchmark.results import (
    SPACES,
    Results,
    condition_pairs,
    deviation_of_means,
    discernibility,
    noise,
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
    (autograd,) = torch.autograd.grad(error**2, alpha, retain_graph=True)
    g = 2 * error * output  # dL/dp
    formula = p * (g - p @ g)
    table = pd.DataFrame(
        {
            "alpha": alpha.detach().numpy(),
            "puts out": output.numpy(),
            "p": p.detach().numpy(),
            "formula": formula.detach().numpy(),
            "autograd": autograd.numpy(),
        }
    )
    sources = {0: "from the sum", 1: "from the concat"}
    places = [(source, op) for source in sources for op in SPACE.ops]
    table.insert(0, "operation", [op.replace("_", " ") for _, op in places])
    table.insert(0, "edge", [sources[source] for source, _ in places])
    for policy in ("base", "3ops"):
        kept = {(source, op) for op, source in _toy_cell(policy).nodes[0]}
        table[policy] = ["kept" if place in kept else "" for place in places]
    return table


def toy_outputs() -> pd.DataFrame:
    """The five nodes of that cell: their weights in its outputs, and where policies put them."""
    scores = _toy_scores()["normal_output"]
    beta = torch.softmax(scores[0], 0)
    gamma = torch.sigmoid(scores[1])
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
        drawn = results.kind("random").query("method == @space")
        row = {"space": name, "architectures": f"{sizes[space]:.2g}"}
        row |= _of_networks(results.drawn(space))
        row |= {
            "params": drawn["params"].mean() / 1e6,
            "step_seconds": results.steps[space].median(),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _of_networks(scores: np.ndarray) -> dict[str, Any]:
    """What random networks (networks, evaluation seeds) reach; nan: too few of them for it."""
    networks, seeds = scores.shape
    several = networks > 1
    return {
        "networks": networks,
        "mean": scores.mean() if networks else np.nan,
        "deviation": deviation_of_means(scores) if several else np.nan,
        "lowest": scores.min() if networks else np.nan,
        "highest": scores.max() if networks else np.nan,
        "noise": noise(scores) if several and seeds > 1 else np.nan,
        "pairs_apart": separable(scores) if several else np.nan,
    }


def main_table(results: Results) -> pd.DataFrame:
    """A row per method and condition: mean accuracy (%) over search seeds, its interval,
    parameters (M).

    n: search seeds. Data sets whose images were not there have rows without numbers.
    """
    scores = results.scores()
    own = results.own[results.own["budget"] == results.budgets[0]]
    params = own.groupby(["method", "target", "policy"])["params"].mean() / 1e6
    rows: list[dict[str, Any]] = []
    for m, method in enumerate(results.methods):
        for d, dataset in enumerate(results.datasets):
            for p, policy in enumerate(POLICY_NAMES):
                e = estimate(scores[m, d, p])
                row = {"method": method, "dataset": dataset, "policy": policy, "n": e.n}
                size = params.get((method, dataset, policy), np.nan)
                rows.append(row | e.columns("accuracy") | {"params": size})
        for dataset in results.missing:
            for policy in POLICY_NAMES:
                rows.append({"method": method, "dataset": dataset, "policy": policy, "n": 0})
    return pd.DataFrame(rows)


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """`main_table` for display: a row per method, a column per condition such as `cifar10, base`:
    `mean ± half interval (parameters in M)`. Without data sets whose images were not there.
    """
    table = table[table["n"] > 0]
    texts = []
    for row in table.itertuples():
        half = row.accuracy_high - row.accuracy  # nan of one seed
        interval = f" ± {half:.1f}" if half > 0 else ""
        texts.append(f"{row.accuracy:.1f}{interval} ({row.params:.3g} M)")
    named = table.assign(text=texts, condition=table["dataset"] + ", " + table["policy"])
    shown = named.pivot(index="method", columns="condition", values="text")
    return shown.loc[table["method"].unique(), named["condition"].unique()].reset_index()


def cost_table(results: Results) -> pd.DataFrame:
    """What was measured: minutes of a search, peak memory of its process (GiB),
    minutes of a final network.
    """
    rows = []
    for key, (_, run) in results.searches.items():
        records = run.records
        peaks = [record["cost"]["peak_memory_bytes"] for record in records]
        rows.append(
            {
                "budget": key.budget,
                "method": key.method,
                "search_minutes": planning.seconds(records) / 60,
                "peak_memory": max(peaks, default=np.nan) / 2**30,
            }
        )
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
    complete = _complete(means)
    placed = ranking.ranks(means[:, complete].T)  # (conditions, methods)
    best = placed.min(axis=1, keepdims=True)  # shared first places are 1.5 and more
    table = pd.DataFrame({"method": results.methods, "rank": placed.mean(axis=0)})
    table["first"] = (placed == best).sum(axis=0)
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


def condition_ranks(results: Results) -> pd.DataFrame:
    """Rank of each method, 1 for the best, in each complete condition:
    columns dataset, policy, method, rank.
    """
    means = results.by_condition()
    complete = np.flatnonzero(_complete(means))
    rows = []
    for place, ranks in zip(complete, ranking.ranks(means[:, complete].T), strict=True):
        dataset, policy = results.conditions[place]
        for method, rank in zip(results.methods, ranks, strict=True):
            rows.append((dataset, policy, method, rank))
    return pd.DataFrame(rows, columns=["dataset", "policy", "method", "rank"])


def _complete(means: np.ndarray) -> np.ndarray:
    """Which conditions have all methods: (methods, conditions) -> (conditions,)."""
    return ~np.isnan(means).any(axis=0)


def _contrasts(results: Results, place: int, dataset: str) -> pd.DataFrame:
    """Columns named by the data set, in the order of the methods; none without Random, which is
    the control, or with a search missing.
    """
    searches = results.scores()[:, place].mean(axis=1)  # (methods, seeds)
    control, *others = results.methods
    if control != "Random" or not others or np.isnan(searches).any():
        return pd.DataFrame(index=range(len(searches)))
    rows = [e.columns(dataset) for e in ranking.contrasts(searches)]
    return pd.DataFrame([{dataset: 0.0}, *rows])


RANKINGS_DIFFER_IN = {
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
    resampled = ranking.resampled(results.scores())  # (draws, methods, data sets, policies)
    draws = agreement_matrix(resampled.reshape(*resampled.shape[:2], -1))
    matrix = agreement_matrix(results.by_condition())
    different = ~np.eye(len(matrix), dtype=bool)
    rows = []
    for name, (same_dataset, same_policy) in RANKINGS_DIFFER_IN.items():
        pairs = condition_pairs(results, same_dataset, same_policy)
        e = _mean_tau(matrix, draws, pairs & different, len(results.seeds))
        single = ranking.over_pairs(single_seed_agreement(results, same_dataset, same_policy))
        taus = e.columns("tau") | single.columns("single")
        rows.append({"rankings differ in": name, **taus, "n": single.n})
    return pd.DataFrame(rows)


def _mean_tau(matrix: np.ndarray, draws: np.ndarray, pairs: np.ndarray, n: int) -> Estimate:
    if not pairs.any() or np.isnan(matrix[pairs]).all():
        return Estimate.unknown()
    tau = float(np.nanmean(matrix[pairs]))
    return ranking.interval(tau, ranking.mean(draws[:, pairs]), n)


def discernibility_table(results: Results) -> pd.DataFrame:
    """Per condition the share of pairs of methods told apart (Welch, 95 %;
    without any difference 0.05).
    """
    table = pd.DataFrame(results.conditions, columns=["dataset", "policy"])
    return table.assign(told_apart=discernibility(results))


def budget_ranks(results: Results) -> pd.DataFrame:
    """Under `base`: mean accuracy and rank of each method on each data set under every budget."""
    base = POLICY_NAMES.index("base")
    tables = []
    for budget in results.budgets:
        means = ranking.mean(results.scores(budget))[:, :, base]  # (methods, data sets)
        ranks = ranking.ranks(means.T)  # (data sets, methods)
        for d, dataset in enumerate(results.datasets):
            columns = {"method": results.methods, "accuracy": means[:, d], "rank": ranks[d]}
            tables.append(pd.DataFrame({"budget": budget, "dataset": dataset, **columns}))
    return pd.concat(tables, ignore_index=True)


def budget_agreement(results: Results) -> pd.DataFrame:
    """Kendall's tau between the rankings under the first and each other budget, `base`;
    interval: resampled seeds.
    """
    base = POLICY_NAMES.index("base")
    first, *others = results.budgets
    rows = []
    for budget in others:
        scores = [results.scores(name)[:, :, [base]] for name in (first, budget)]
        means = [ranking.mean(values) for values in scores]  # (methods, data sets, 1)
        # the same seeds for both: the same searches where budgets coincide
        draws = [ranking.resampled(values) for values in scores]
        for d, dataset in enumerate(results.datasets):
            tau = ranking.kendall(*(values[:, d, 0] for values in means))
            resampled = ranking.kendall(*(values[:, :, d, 0] for values in draws))
            e = ranking.interval(float(tau), resampled, len(results.seeds))
            row = {"budgets": f"{first}, {budget}", "dataset": dataset}
            rows.append(row | e.columns("tau") | {"n": e.n})
    return pd.DataFrame(rows, columns=["budgets", "dataset", "tau", "tau_low", "tau_high", "n"])


def transferred(results: Results) -> pd.DataFrame:
    """`base`: accuracy (%) of every network by the data set of its search, and of its training:
    method, searched, target, trial, accuracy. Only of targets with more than one source.
    """
    table = results.kind("final")
    of_first_budget = table["budget"] == results.budgets[0]
    table = table[(table["policy"] == "base") & of_first_budget]
    keys = ["method", "searched", "target", "seed"]
    means = table.groupby(keys, sort=False)["accuracy"].mean().reset_index()
    return _moved(means.rename(columns={"seed": "trial"}))


def pilot_again(pilot: Conditions, registered: Conditions) -> pd.DataFrame:
    """The pilot's mean of each method beside that of the registered study, which trained the same
    networks with other seeds.

    error: the standard error of the difference that comes of the noise between trainings alone. p:
    of differences so large, in all methods of a condition together (F test).
    """
    rows = []
    for name, first in pilot.items():
        if name in registered:
            rows.append(_met(name, first, registered[name]))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _met(name: str, first: Condition, again: Condition) -> pd.DataFrame:
    methods, searches = first.accuracy.shape
    same = again.accuracy[[again.methods.index(method) for method in first.methods]]
    differences = (same - first.accuracy).mean(axis=1)
    error = again.noise * np.sqrt((1 + 1 / again.trainings) / searches)
    freedom = again.accuracy.size * (again.trainings - 1)
    return pd.DataFrame(
        {
            "condition": name,
            "method": first.methods,
            "pilot": first.accuracy.mean(axis=1),
            "registered study": same.mean(axis=1),
            "difference": differences,
            "error": error,
            "p": stats.f.sf((differences**2).mean() / error**2, methods, freedom),
        }
    )


def released_transferred(conditions: Conditions) -> pd.DataFrame:
    """As `transferred`, of released architectures."""
    rows = []
    for c in conditions.values():
        if c.policy != "base":
            continue
        for method, accuracies in zip(c.methods, c.accuracy, strict=True):
            for trial, accuracy in enumerate(accuracies, 1):
                rows.append((method, c.searched, c.target, trial, accuracy))
    columns = ["method", "searched", "target", "trial", "accuracy"]
    return _moved(pd.DataFrame(rows, columns=columns))


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
    tested = ["accuracy", "best"]
    clean = results.own.query("policy == 'base'").set_index(keys)[tested]
    released = results.kind("released").set_index(keys)[tested].add_suffix("_released")
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
            row |= estimate(values).columns(name)
        tau = ranking.correlation(part["accuracy"].to_numpy(), part["best_released"].to_numpy())
        rows.append(row | tau.columns("tau") | {"n": len(part)})
    return pd.DataFrame(rows)


def proxy_pairs(results: Results) -> pd.DataFrame:
    """The cells that were trained twice, as the benchmark does and longer:
    method, accuracy, longer.
    """
    keys = ["budget", "method", "searched", "target", "policy", "seed", "eval_seed"]
    own = results.own.set_index(keys)["accuracy"]
    longer = results.kind("long").set_index(keys)["accuracy"]
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
        of_cell = part.groupby(["budget", "method", "seed"])["accuracy"]
        of_method = of_cell.mean().groupby(["budget", "method"])
        rows.append(
            {
                "dataset": dataset,
                "evaluation_seeds": _pooled(of_cell.std(ddof=1)),
                "search_seeds": _pooled(of_method.std(ddof=1)),
            }
        )
    return pd.DataFrame(rows)


def _pooled(deviations: pd.Series) -> float:
    """The deviation that all groups have in common, if they are of one size."""
    return float(np.sqrt((deviations**2).mean()))
