"""Tables of `notebooks/lr_swap.ipynb`: functions of results."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch

from nasutils.measures import stopping, tables
from nasutils.measures.estimates import central
from nasutils.spaces import catalogue
from nasutils.spaces.base import SKIP
from nasutils.spaces.nasbench201_table import DATASETS
from nasutils.studies import outside
from nasutils.studies.figures import toy_table, with_published
from nasutils.studies.lr_swap.claims import magnitude_correlation
from nasutils.studies.lr_swap.results import Results, online
from nasutils.studies.lr_swap.variants import SPACE, VARIANTS
from nasutils.studies.variants import of_label

TOY_UPSTREAM = (0.0, -1.0, 1.0, 2.0, 0.0)
"""dL/dp of five operations on one edge that can be followed by hand, all of alpha being 0."""


def toy(steps: int, rates: Sequence[float]) -> pd.DataFrame:
    """One edge: the gradient in alpha by the formula and by autograd,
    and the weights that Adam makes in some steps.

    rates: of alpha; a column each.
    """
    g = torch.tensor(TOY_UPSTREAM, dtype=torch.float64)
    alpha = torch.zeros_like(g, requires_grad=True)
    p = torch.softmax(alpha, 0)
    (by_autograd,) = torch.autograd.grad(p @ g, alpha)
    columns = {"dL/dp": g, "p": p, "formula": p * (g - p @ g), "autograd": by_autograd}
    for rate in rates:
        columns[f"p after {steps} steps at {rate:g}"] = _moved(g, steps, rate)
    return toy_table(columns)


def _moved(g: torch.Tensor, steps: int, rate: float) -> torch.Tensor:
    """The weights of the edge after steps of Adam on alpha, which begins at 0."""
    alpha = torch.zeros_like(g, requires_grad=True)
    optimizer = torch.optim.Adam([alpha], rate, betas=(0.5, 0.999))
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.softmax(alpha, 0) @ g
        loss.backward()
        optimizer.step()
    return torch.softmax(alpha, 0)


def settings_table(results: Results) -> pd.DataFrame:
    """A row per setting: last cell on three data sets,
    best minus last and gain on DARTS on CIFAR-10 (points).

    Medians over seeds with their intervals, n; published numbers of other methods, which are
    means, below.
    """
    table = tables.summary(results.last, list(DATASETS))
    table = table[table["method"].isin(VARIANTS)].reset_index(drop=True)
    measures = {"best_minus_last": results.degradation, "gain_on_darts": results.gain}
    for name, measure in measures.items():
        columns = [central(measure(label)).columns(name) for label in table["method"]]
        table = table.join(pd.DataFrame(columns))
    order = list(VARIANTS)
    ours = table.sort_values("method", key=lambda column: column.map(order.index))
    return with_published(ours.assign(source="this run"))


def wilcoxon(differences: pd.Series) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test;
    1 if all differences are 0, nan if there is none.
    """
    from scipy.stats import wilcoxon

    x = differences.dropna().to_numpy(dtype=float)
    if len(x) == 0:
        return np.nan
    return float(wilcoxon(x).pvalue) if np.any(x) else 1.0


def criteria_table(results: Results) -> pd.DataFrame:
    """T1: per setting and criterion the cell it takes, against last,
    best and random ones (CIFAR-10 test, points).

    Paired over seeds: median, its interval, and Wilcoxon's p against the last epoch. n: searches
    that it can judge.
    """
    rows: list[dict[str, object]] = []
    for label in results.present(results.judged):
        rows += _criteria_rows(results, label)
    return pd.DataFrame(rows)


def _criteria_rows(results: Results, label: str) -> Iterator[dict[str, object]]:
    references = results.references(label)
    for name, values in references.items():
        yield {"method": label, "criterion": name, **_compared(values, references)}
    for name in stopping.CRITERIA:
        taken = results.stops(label, name).dropna(subset=["epoch"])
        row: dict[str, object] = {"method": label, "criterion": name}
        if len(taken):
            row["epoch"] = taken["epoch"].astype(float).mean()
            row["fired"] = taken["fired"].astype(float).mean()
        yield row | _compared(taken["cifar10"], references)


def _compared(values: pd.Series, references: Mapping[str, pd.Series]) -> dict[str, object]:
    row: dict[str, object] = {"n": values.notna().sum()}
    last = references["last epoch"]
    columns = {
        "cifar10": values,
        "minus_last": values - last,
        "minus_best": values - references["best epoch (hindsight)"],
        "minus_random": values - references["a cell at random"],
    }
    for name, column in columns.items():
        row |= central(column).columns(name)
    return {**row, "p": wilcoxon(values - last)}


def operations_table(results: Results) -> pd.DataFrame:
    """What selective stop (`peak`) does with each operation as the designated one,
    and how S goes with accuracy.
    """
    rows = []
    for label in results.present(results.judged):
        last = results.references(label)["last epoch"]
        for op in SPACE.ops:
            found = results.stops(label, "peak", op)
            row: dict[str, Any] = {"method": label, "operation": op}
            row |= {"epoch": found["epoch"].astype(float).mean(), "n": len(found)}
            measures = {
                "cifar10": found["cifar10"],
                "minus_last": found["cifar10"] - last,
                "correlation": magnitude_correlation(results, label, op),
            }
            for name, column in measures.items():
                row |= central(column).columns(name)
            rows.append(row)
    return pd.DataFrame(rows)


def cells_table() -> pd.DataFrame:
    """T2: the four SS-DARTS cells of the DARTS space,
    by the operation that stopped their search.
    """
    rows = []
    for published in catalogue.catalogue().values():
        if not published.name.startswith("SS-DARTS"):
            continue
        normal, *_ = published.genotype.cells
        rows.append(
            {
                "cell": published.name,
                "skips_normal": normal.ops.count(SKIP),
                "params": published.params / 1e6,
                "macs": published.macs / 1e6,
                "cifar10_error": np.nan,
                "source": published.source,
            }
        )
    return pd.DataFrame(rows)


def cost_table(results: Results) -> pd.DataFrame:
    """T3: what each criterion costs, means over the searches of DARTS.

    share: of the search until nothing could change its decision; seconds: the same. online_share:
    until it stops a running search, where a maximum counts as found once a fifth of the search has
    passed without a higher one; online_cifar10: of the cell that it then takes.
    """
    measured = _online_table(results).groupby("criterion", sort=False).mean()
    own = of_label(results.decisions, "DARTS")
    own = own[own["operation"].isna() | (own["operation"] == results.operation)]
    decided = own.groupby("criterion", sort=False)[["share", "seconds"]].mean()
    return decided.dropna().join(measured).reset_index()


def _online_table(results: Results) -> pd.DataFrame:
    """A row per search of DARTS and criterion that can judge all of them; nan: not this one."""
    rows = []
    searched = [run.records for (method, _), run in results.runs.items() if method == "DARTS"]
    for records in searched:
        patience = max(round(len(records) / 5), 1)
        for name in stopping.CRITERIA:
            if results.stops("DARTS", name)["epoch"].isna().any():
                continue
            try:
                count, accuracy = online(records, name, results.operation, patience)
                rows.append((name, count / len(records), accuracy))
            except ValueError:  # its first eigenvalue comes too late for its patience
                rows.append((name, np.nan, np.nan))
    return pd.DataFrame(rows, columns=["criterion", "online_share", "online_cifar10"])


OUTSIDE = {"hard_exit": 8, "skips_2": 2, "skips_3": 3, "skips_4": 4}
"""Criteria that count skips -> how many of the normal cell's 8 edges."""


@cache
def outside_table() -> pd.DataFrame:
    """The criteria applied to RobustDARTS's 211 searches:
    a row per search and criterion that can be judged there.

    epoch, fired, decided (epoch); skips and one-shot validation error (%) at the stop and at the
    end.
    """
    keys = ["search", "space", "weight_decay", "drop_path"]
    rows = []
    for values, table in outside.searches().groupby(keys):
        search = dict(zip(keys, values, strict=True))
        end = table.iloc[-1]
        for name, at, decided in _outside_stops(table):
            here = end if at is None else table.iloc[at]
            row = {
                **search,
                "criterion": name,
                "epoch": here["epoch"],
                "fired": at is not None,
                "decided": np.nan if decided is None else table["epoch"].iloc[decided],
                "skips": here["skips"],
                "skips_end": end["skips"],
                "error": here["valid_error"],
                "error_end": end["valid_error"],
            }
            rows.append(row)
    return pd.DataFrame(rows)


def _outside_stops(table: pd.DataFrame) -> Iterator[tuple[str, int | None, int | None]]:
    """Criterion, the position that it takes, and the one after which it has decided."""
    for name, skips in OUTSIDE.items():
        at = stopping.first(table["skips"] >= skips)
        yield name, at, at
    where = np.flatnonzero(table["eigenvalue"].notna())
    if len(where) == 0:
        return
    logged = table.iloc[where]
    found = stopping.darts_es(logged["epoch"].tolist(), logged["eigenvalue"])
    if found is None:
        yield "eigenvalue", None, None
    else:
        fires, taken = found
        yield "eigenvalue", int(where[taken]), int(where[fires])


def outside_summary() -> pd.DataFrame:
    """Per space and criterion: searches, how many it stops, where,
    skips and one-shot error there and at the end.
    """
    table = outside_table()
    keys = ["space", "criterion"]
    counts = table.groupby(keys, sort=False)["fired"].agg(searches="size", fired="mean")
    fired = table[table["fired"]].groupby(keys, sort=False)
    means = fired[["epoch", "decided", "skips", "skips_end", "error", "error_end"]].mean()
    return counts.join(means).reset_index()
