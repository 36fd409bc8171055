"""How a search went, for any search record: a table per epoch, findings in words, and what to try.

The limits that call a search collapsed are ours, and stated here; what they rest on is in their
text.
"""

import math
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from nasutils import spaces
from nasutils.measures import stopping
from nasutils.measures.leakage import FREE_OPS
from nasutils.measures.stopping import Records
from nasutils.spaces.base import SKIP, Space

LIMITS = {"skip_share": (1 / 2, "half"), "parameter_free_share": (2 / 3, "two thirds")}
"""Share of a cell's edges above which it counts as collapsed.

Of all 15,625 NAS-Bench-201 cells (87.1 % on CIFAR-10 in the mean) those with three skips reach
86.6 %, with four of the six 82.7 %; those with four operations without parameters 87.4 %, with
five 81.1 %.
"""
SHARES = {
    "skip_share": "Skip connections",
    "parameter_free_share": "Operations without parameters",
}
LASTING = 5
"""Epochs for which a share must have stayed above its limit, to the end,
to be more than a fluctuation.
"""
UNDECIDED = 0.1
"""Edge margin below which one operation per edge is not what the supernet computes."""
SPREAD = 1 / 2
"""Share of the largest entropy above which edges have a favourite at most."""
SMALL = 0.1
"""Temperature below which the advice to lower it is void."""
LEAD = 0.02
"""Mean weight per edge by which an operation must lead the next one to have won."""
KNOWN = {
    "skip_share": "This is the known collapse of DARTS (arXiv 1909.09656, 2009.01027).",
    "parameter_free_share": (
        "Information bypasses the convolutions: the collapse in its wider form (arXiv 2306.06858)."
    ),
}
ADVISED = {
    "temperature": ("pcd-darts", "edd-darts"),
    "mixed": ("sp-darts",),
    "swap": ("ex-darts",),
}
"""The methods that a piece of advice names."""
ADVICE = {
    "temperature": (
        "Search at a small temperature (pcd-darts, edd-darts). Small Temperature is All You Need"
        " for Differentiable Architecture Search, arXiv 2306.06855."
    ),
    "mixed": (
        "Mix sparse and dense steps (sp-darts). Robustifying DARTS by Eliminating Information"
        " Bypass Leakage via Explicit Sparse Regularization, arXiv 2306.06858."
    ),
    "swap": (
        "Swap the learning rates of weights and alpha (ex-darts). Delve into the Performance"
        " Degradation of Differentiable Architecture Search, arXiv 2109.13466."
    ),
    "regularise": (
        "Regularise the weights more: decay, drop path. Understanding and Robustifying"
        " Differentiable Architecture Search, arXiv 1909.09656. (More decay of alpha did not help"
        " in arXiv 2109.13466.)"
    ),
}
EARLIER = {
    "peak": "selective stop, arXiv 2109.13466",
    "skips_2": "DARTS+, arXiv 1909.06035",
    "eigenvalue": "DARTS-ES, arXiv 1909.09656",
}


@dataclass(frozen=True)
class Observation:
    """level: normal, watch, collapse or unknown. since: epoch, where it has a beginning.
    advice: keys of ADVICE.
    """

    level: str
    text: str
    since: int | None = None
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` found. table: see `per_epoch`. advice: what to try, with its source.
    Print it to read it.
    """

    space: str
    table: pd.DataFrame
    findings: tuple[Observation, ...]
    advice: tuple[str, ...]

    @property
    def since(self) -> int | None:
        """First epoch of the collapse, None if there is none."""
        collapses = [found for found in self.findings if found.level == "collapse"]
        return min((c.since for c in collapses if c.since is not None), default=None)

    @property
    def collapsed(self) -> bool:
        return self.since is not None

    def __str__(self) -> str:
        verdict = f"COLLAPSED, since epoch {self.since}" if self.collapsed else "no collapse"
        lines = [f"{len(self.table)} epochs on {self.space}: {verdict}", ""]
        lines += [_wrapped(f"{f.level:<10}", f.text) for f in self.findings]
        if self.advice:
            lines += ["", "What to try:", *(_wrapped("  * ", text) for text in self.advice)]
        return "\n".join(lines)


def _wrapped(head: str, text: str) -> str:
    return textwrap.fill(
        text, 100, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )


def diagnose(records: Records, space: Space | str, method: str | None = None) -> Diagnosis:
    """What is normal in a search, what is the known collapse, since when, and what to try.

    Judged is the normal cell (the only one where there is but one), by its state at the last
    record. space: a space or its name. method: the name of the one that searched, which is then
    not advised.

    Raises ValueError for an unknown name, if there is no record, or one lacks alpha, mixing
    weights or genotype.
    """
    if isinstance(space, str):
        space = spaces.get(space)
    table = per_epoch(records, space)
    edges = len(stopping.cell_operations(records[-1:], space)[0])
    findings = (
        *_collapse(table, edges),
        _magnitude(table, space),
        _edges_decided(table, space),
        _eigenvalue_rise(table),
    )
    keys = dict.fromkeys(key for f in findings for key in f.advice)
    if table["temperature"].iloc[-1] < SMALL:
        keys.pop("temperature", None)
    advice = [ADVICE[key] for key in keys if method not in ADVISED.get(key, ())]
    if any(f.level == "collapse" for f in findings):
        advice += _stop_earlier(records, space, table)
    return Diagnosis(space.name, table, findings, tuple(advice))


def per_epoch(records: Records, space: Space) -> pd.DataFrame:
    """A row per record.

    epoch, temperature. skip_share, parameter_free_share: of the genotype's edges, 0 to 1. entropy
    (nats) and margin (difference of the two largest mixing weights): means over the edges, or over
    the nodes where operations of all edges into one compete. S_<operation>: see
    `stopping.magnitudes`. eigenvalue: nan where it was not logged.
    """
    needed = {"mix", "entropy", "temperature"}
    if not records or any(not needed <= record.keys() for record in records):
        raise ValueError("needs records with mix, entropy and temperature, as `search` logs them")
    cell = stopping.cell_of(space)
    s = stopping.magnitudes(stopping.alphas(records, space))
    rows = []
    cells = stopping.cell_operations(records, space)
    for record, ops, magnitudes in zip(records, cells, s.tolist(), strict=True):
        free = sum(op in FREE_OPS for op in ops)
        eigenvalue = stopping.eigenvalue(record)
        rows.append(
            {
                "epoch": record["epoch"],
                "temperature": record["temperature"],
                "skip_share": ops.count(SKIP) / len(ops),
                "parameter_free_share": free / len(ops),
                "entropy": record["entropy"][cell],
                "margin": _mean_margin(record["mix"], space),
                **{f"S_{op}": value for op, value in zip(space.ops, magnitudes, strict=True)},
                "eigenvalue": math.nan if eigenvalue is None else eigenvalue,
            }
        )
    return pd.DataFrame(rows)


def _mean_margin(mix: Mapping[str, Any], space: Space) -> float:
    margins = []
    for weights in _rivals(mix, space):
        second, first = weights[-2:].tolist()
        margins.append(first - second)
    return float(np.mean(margins))


def _rivals(mix: Mapping[str, Any], space: Space) -> list[Tensor]:
    """The mixing weights that compete with one another in the judged cell,
    ascending, (K,) each.
    """
    weights = {name: torch.as_tensor(rows, dtype=torch.float64) for name, rows in mix.items()}
    rivals = []
    for group in space.competing(weights)[stopping.cell_of(space)]:
        rivals += list(group.sort(dim=-1).values)
    return rivals


def lasting_from(condition: ArrayLike) -> int | None:
    """Position from which a condition holds without a break to the end,
    None if it does not hold there.
    """
    broken = np.flatnonzero(~np.asarray(condition, dtype=bool))
    start = int(broken[-1]) + 1 if len(broken) else 0
    return None if start == np.size(condition) else start


def _collapse(table: pd.DataFrame, edges: int) -> Iterator[Observation]:
    """A finding per share that is above its limit; one of health if none is."""
    skips = round(table["skip_share"].iloc[-1] * edges)
    free = round(table["parameter_free_share"].iloc[-1] * edges)
    above = {}
    for column, (limit, _) in LIMITS.items():
        start = lasting_from(table[column] > limit)
        if start is not None:
            above[column] = start
    if not above:
        yield _no_collapse(table, edges, free, skips)
    if free == skips and "skip_share" in above:
        above.pop("parameter_free_share", None)  # it would say the same of the same edges
    for column, start in above.items():
        yield _above(table, column, start, edges)


def _no_collapse(table: pd.DataFrame, edges: int, free: int, skips: int) -> Observation:
    text = (
        f"Operations with parameters hold {edges - free} of {edges} edges of the cell, skips"
        f" {skips}."
    )
    crowded = table["epoch"][table["skip_share"] > LIMITS["skip_share"][0]]
    if len(crowded):
        text += (
            f" Skips held more than half of them in {len(crowded)} epochs, last in epoch"
            f" {crowded.iloc[-1]}."
        )
    return Observation("watch" if 2 * skips >= edges else "normal", text)


def _above(table: pd.DataFrame, column: str, start: int, edges: int) -> Observation:
    share = table[column]
    since = int(table["epoch"].iloc[start])
    same = lasting_from(share == share.iloc[-1]) or 0
    text = f"{SHARES[column]} hold {round(share.iloc[-1] * edges)} of {edges} edges of the cell"
    if same > start:
        text += f" since epoch {table['epoch'].iloc[same]}"
    text += f", more than {LIMITS[column][1]} since epoch {since}."
    if len(table) - start < LASTING:
        text += f" That may be a fluctuation: it is younger than {LASTING} epochs."
        return Observation("watch", text, since)
    advice = ("temperature", "mixed", "swap", "regularise")
    return Observation("collapse", f"{text} {KNOWN[column]}", since, advice)


def _magnitude(table: pd.DataFrame, space: Space) -> Observation:
    s = table[[f"S_{op}" for op in space.ops]].to_numpy()
    last = dict(zip(space.ops, s[-1], strict=True))
    top = max(last, key=lambda op: last[op])
    biased = top in FREE_OPS
    # an operation without parameters is compared with those that have some
    rivals = [op for op in space.ops if op != top and not (biased and op in FREE_OPS)]
    second = max(rivals, key=lambda op: last[op])

    ahead = (last[top] - last[second]) / s[-1].sum() > LEAD
    standing = "is just ahead"
    if ahead:
        first = lasting_from(s.argmax(axis=1) == space.ops.index(top)) or 0
        standing = f"has the largest magnitude since epoch {table['epoch'].iloc[first]}"
    rival = "operation with parameters" if biased else "other one"
    text = (
        f"{top} {standing}: S = {last[top]:.2f}, the strongest {rival} ({second})"
        f" {last[second]:.2f}."
    )
    return Observation("watch" if biased and ahead else "normal", text)


def _edges_decided(table: pd.DataFrame, space: Space) -> Observation:
    last = table.iloc[-1]
    flat = {name: np.zeros(shape) for name, shape in space.alpha_shapes.items()}
    rivals = _rivals(flat, space)
    most = np.mean([math.log(len(row)) for row in rivals])
    edges, _ = space.alpha_shapes[stopping.cell_of(space)]
    place, an = ("edge", "an") if len(rivals) == edges else ("node", "a")
    text = (
        f"the two best operations of {an} {place} lie {last['margin']:.3f} apart, "
        f"entropy {last['entropy']:.2f} of at most {most:.2f} nats per {place}"
    )
    if last["margin"] >= UNDECIDED:
        spread = last["entropy"] > SPREAD * most
        standing = "have a favourite, but much weight lies beside it" if spread else "have decided"
        return Observation("normal", f"The {place}s {standing}: {text}.")
    text = f"The {place}s are undecided: {text}. The cell is not what the supernet computes."
    return Observation("watch", text, advice=("temperature",))


def _eigenvalue_rise(table: pd.DataFrame) -> Observation:
    logged = table.dropna(subset="eigenvalue")
    if logged.empty:
        return Observation(
            "unknown", "No Hessian eigenvalue was logged (search with `eigenvalue_every` = 2)."
        )
    first, last = logged["eigenvalue"].iloc[[0, -1]]
    text = f"The dominant Hessian eigenvalue went from {first:.3g} to {last:.3g}"
    try:
        found = stopping.darts_es(logged["epoch"].tolist(), logged["eigenvalue"])
    except ValueError as error:
        return Observation("unknown", f"{text}. {error}.")
    if found is None:
        return Observation("normal", f"{text} without a rise that DARTS-ES would stop at.")
    fires, back = (int(logged["epoch"].iloc[i]) for i in found)
    rise = (
        f"{text}: its mean had risen by a factor of {stopping.ES_FACTOR} at epoch {fires};"
        f" DARTS-ES goes back to epoch {back}."
    )
    return Observation("watch", rise, fires, ("regularise",))


def _stop_earlier(records: Records, space: Space, table: pd.DataFrame) -> list[str]:
    """The criteria that would have taken a cell that has not collapsed,
    with that cell (epoch 0 is left to chance).
    """
    healthy = pd.Series(True, index=table.index)
    for column, (limit, _) in LIMITS.items():
        healthy &= table[column] <= limit
    lines = []
    for name, source in EARLIER.items():
        try:
            decision = stopping.stop(records, name, space=space)
        except ValueError:  # it needs what this space or these records do not have
            continue
        row = int(np.flatnonzero(table["epoch"] == decision.epoch)[0])
        if decision.fired and row > 0 and healthy[row]:
            lines.append(
                f"Stop earlier ({source}): `{name}` takes epoch {decision.epoch},"
                f" {records[row]['genotype']}."
            )
    return lines or ["Stop earlier (DARTS+, arXiv 1909.06035; selective stop, arXiv 2109.13466)."]
