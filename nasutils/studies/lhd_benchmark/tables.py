"""Tables of `notebooks/lhd_benchmark.ipynb`: functions of results that return a table."""

import numpy as np
import pandas as pd

from nasutils import spaces
from nasutils.measures import ranking
from nasutils.measures import tables as analysis
from nasutils.measures.tables import Estimate
from nasutils.spaces import lhd_cells
from nasutils.studies.lhd_benchmark.results import (
    SPACES,
    Results,
    deviation,
    separable,
    single_seed_agreement,
)
from nasutils.studies.lhd_benchmark.variants import BUDGETS, METHODS, POLICY_NAMES, Budget, budget
from nasutils.sweep import planning

PRESETS = pd.DataFrame(
    [
        ("Random", "alpha ~ 0.1 N(0, 1), never trained", "the same"),
        ("DARTS", "alpha decays by 1e-3", "no decay of alpha"),
        ("MiLeNAS", "alpha decays by 1e-3", "no decay of alpha"),
        (
            "GAEA-bilevel",
            (
                "a simplex per node (and per output) is the mixing weight; a gate moves by its own"
                " log odds"
            ),
            (
                "every row is a simplex, gates included, with another softmax or sigmoid on top:"
                " almost uniform weights"
            ),
        ),
        (
            "GAEA-ERM",
            "as GAEA-bilevel, all training images for both",
            "as GAEA-bilevel, all training images for both",
        ),
        (
            "DrNAS",
            (
                "a Dirichlet draw per edge with a distance to the flat one, alpha rests for the"
                " first fifth; gates are sigmoids; its mean is discretized"
            ),
            (
                "no distance, no rest; gates drawn as a simplex but stored as sigmoids;"
                " discretized: softmax of alpha"
            ),
        ),
        (
            "GDAS",
            "one operation sampled per edge; alpha decays by 1e-3",
            (
                "one of all operations into a node; other edges count as the constant 1 in the"
                " gradient; no decay"
            ),
        ),
        (
            "PC-DARTS",
            (
                "edge weights (normalisation) that also weigh what goes around the operations;"
                " alpha decays by 1e-3"
            ),
            "no edge weights: what goes around is summed unweighted; no decay",
        ),
        ("SP-DARTS", "operations of weight exactly 0 are not run", "every operation is run"),
        ("DARTS-", "alpha decays by 1e-3", "no decay of alpha"),
        (
            "Beta-DARTS",
            "the penalty 0.5 e R on alpha acts; alpha decays by 1e-3",
            (
                "the penalty is detached and does nothing: DARTS with a smaller batch; cell types"
                " exchanged by name"
            ),
        ),
        (
            "SurgeNAS",
            "one identity per edge, inside every operation; alpha decays by 1e-3",
            "a strided identity runs once per operation, which its batch norm shows; no decay",
        ),
    ],
    columns=[
        "method",
        "published (as described; the default)",
        "released (what the authors' benchmark code does)",
    ],
)
"""What the two presets of the methods differ in on LHD; specification (LHD) 3 and 4."""


TESTS = pd.DataFrame(
    [
        (
            "test images, CIFAR-100",
            "as they are",
            "cropped, flipped and cut out like training images",
        ),
        ("test images, CIFAR-10 and SVHN", "as they are", "as they are"),
        (
            "reported",
            "last epoch",
            "best of the tests after epochs 401 to 599, chosen on the test set",
        ),
        ("seeds of the evaluation", "varied", "0 for every run"),
    ],
    columns=["", "published", "released"],
)
"""How the two evaluation protocols differ; specification (LHD) 5."""


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
    """T1: a row per method and condition: mean accuracy (%) over search seeds, its interval,
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
                row = {
                    "method": method,
                    "dataset": dataset,
                    "policy": policy,
                    "n": e.n,
                    "accuracy": e.mean,
                }
                size = params.get((method, dataset, policy), np.nan)
                rows.append(row | {"accuracy_low": e.low, "accuracy_high": e.high, "params": size})
        rows += [
            {"method": method, "dataset": name, "policy": policy, "n": 0}
            for name in results.missing
            for policy in POLICY_NAMES
        ]
    return pd.DataFrame(rows)


def wide(table: pd.DataFrame) -> pd.DataFrame:
    """T1 for display: a row per method, a column per condition,
    `mean ± half interval (parameters in M)`.
    """
    half = (table["accuracy_high"] - table["accuracy"]).fillna(0)
    text = [
        f"{a:.1f}{f' ± {h:.1f}' if h else ''} ({size:.3g} M)" if n else "images not at hand"
        for a, h, size, n in zip(table["accuracy"], half, table["params"], table["n"], strict=True)
    ]
    shown = table.assign(text=text).pivot(
        index="method", columns=["dataset", "policy"], values="text"
    )
    return shown.loc[table["method"].unique()]


def budget_table(**setting: object) -> pd.DataFrame:
    """T2: a row per method and budget: batch, rate, images, updates of weights and alpha,
    images passed in a search.

    setting: arguments of `lhd_benchmark.budget`.
    """
    rows = []
    for label in METHODS:
        for kind in BUDGETS:
            b: Budget = budget(label, kind, **setting)  # type: ignore[arg-type]
            row = {"method": label, "budget": kind, "batch": b.batch, "weight_lr": b.weight_lr}
            row |= {"weight_lr_end": b.weight_lr_end, "images": b.images, "epochs": b.epochs}
            rows.append(
                row | {"updates": b.updates, "alpha_updates": b.alpha_updates, "passes": b.passes}
            )
    return pd.DataFrame(rows)


def cost_table(results: Results) -> pd.DataFrame:
    """T2: what was measured: minutes of a search, peak memory of its process (MiB),
    minutes of a final network.
    """
    rows = [
        {
            "budget": key.budget,
            "method": key.method,
            "search_minutes": planning.seconds(run.records) / 60,
            "peak_memory": (
                max((r["cost"]["peak_memory_bytes"] for r in run.records), default=np.nan) / 2**20
            ),
        }
        for key, (_, run) in results.searches.items()
    ]
    means = pd.DataFrame(rows).groupby(["budget", "method"], sort=False).mean()
    own = results.own.groupby(["budget", "method"], sort=False)["seconds"].mean() / 60
    return means.join(own.rename("final_minutes")).reset_index()


def rank_table(results: Results) -> tuple[pd.DataFrame, dict[str, float]]:
    """T3: average rank over the conditions with its interval (resampled seeds), how often first;
    Friedman and Nemenyi.

    The second value: chi2, p, critical difference (of average ranks, 95 %), conditions. Only
    complete conditions count.
    """
    means = results.by_condition().T  # (conditions, methods)
    complete = ~np.isnan(means).any(axis=1)
    placed = ranking.ranks(means[complete])
    draws = (
        ranking.resampled(results.scores()).reshape(-1, *means.T.shape).swapaxes(1, 2)[:, complete]
    )
    found = (
        np.nanmean(ranking.ranks(draws), axis=1)
        if complete.any()
        else np.full((1, means.shape[1]), np.nan)
    )
    rows = []
    for m, method in enumerate(results.methods):
        e = ranking.interval(placed[:, m].mean(), found[:, m], len(results.seeds))
        row = {"method": method, "rank": e.mean, "rank_low": e.low, "rank_high": e.high}
        rows.append(
            row
            | {
                "first": int((placed[:, m] == placed.min(axis=1)).sum()),
                "n": int(complete.sum()),
            }
        )
    chi2, p = ranking.friedman(means[complete])
    many = len(results.methods)
    difference = (
        ranking.critical_difference(many, int(complete.sum()))
        if many > 1 and complete.any()
        else np.nan
    )
    table = pd.DataFrame(rows).sort_values("rank", ignore_index=True)
    return table, {
        "chi2": chi2,
        "p": p,
        "difference": difference,
        "conditions": int(complete.sum()),
    }


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
        row: dict[str, object] = {
            "rankings differ in": name,
            "tau": e.mean,
            "tau_low": e.low,
            "tau_high": e.high,
        }
        rows.append(
            row
            | {
                "single": single.mean,
                "single_low": single.low,
                "single_high": single.high,
                "n": single.n,
            }
        )
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
            row = {
                "budgets": f"{first}, {kind}",
                "dataset": dataset,
                "tau": e.mean,
                "tau_low": e.low,
            }
            rows.append(row | {"tau_high": e.high, "n": e.n})
    return pd.DataFrame(rows, columns=["budgets", "dataset", "tau", "tau_low", "tau_high", "n"])


def transfer_table(results: Results) -> pd.DataFrame:
    """`base`: what a cell loses (points) for having been searched on another data set,
    paired over search seeds.
    """
    table = results.kind("final")
    table = table[(table["policy"] == "base") & (table["budget"] == results.budgets[0])]
    means = table.groupby(["method", "searched", "target", "seed"])["accuracy"].mean()
    rows = []
    for method in results.methods:
        for target in results.datasets:
            for source in (
                s for s in results.datasets if s != target and (method, s, target) in means
            ):
                e = analysis.estimate(
                    means[method, target, target] - means[method, source, target]
                )
                row = {"method": method, "searched": source, "target": target, "n": e.n}
                rows.append(row | {"loss": e.mean, "loss_low": e.low, "loss_high": e.high})
    return pd.DataFrame(
        rows, columns=["method", "searched", "target", "n", "loss", "loss_low", "loss_high"]
    )


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
            e = analysis.estimate(values)
            row |= {name: e.mean, f"{name}_low": e.low, f"{name}_high": e.high}
        tau = ranking.correlation(part["accuracy"].to_numpy(), part["best_released"].to_numpy())
        rows.append(
            row | {"tau": tau.mean, "tau_low": tau.low, "tau_high": tau.high, "n": len(part)}
        )
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
        rows.append(
            {
                "correlation": kind,
                "value": e.mean,
                "value_low": e.low,
                "value_high": e.high,
                "n": e.n,
            }
        )
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
