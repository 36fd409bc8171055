"""A paper's claims: the sentence, the statistic that tests it, the threshold fixed beforehand,
and the verdict.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from nasutils.errors import choose
from nasutils.measures.estimates import Estimate

if TYPE_CHECKING:  # plans name claims, and are computed where no notebook is
    from IPython.display import Markdown

SEEDS_NEEDED = 5


@dataclass(frozen=True)
class Claim:
    """name: short. sentence: what the paper claims.
    statistic: what is measured, in words, with its unit.

    threshold: *supported* if the whole 95 % interval over seeds lies above it, *not supported* if
    it lies below, *inconclusive* otherwise or with fewer than five seeds. measure: computes the
    estimate from a study's results. caveat: why the statistic is necessary for the claim but not
    sufficient; it can then refute, but never support. interval: how that of the estimate is made.
    """

    name: str
    sentence: str
    statistic: str
    threshold: float
    measure: Callable[[Any], Estimate]
    caveat: str = ""
    interval: str = "Student's t over seeds"

    def verdict(self, estimate: Estimate, scale: str) -> str:
        """The verdict on an estimate, see the class; at smoke scale nothing is evidence."""
        if scale == "smoke":
            return "not tested at this scale"
        if estimate.n < SEEDS_NEEDED or math.isnan(estimate.low):
            return "inconclusive"
        if estimate.low > self.threshold:
            return "inconclusive" if self.caveat else "supported"
        return "not supported" if estimate.high < self.threshold else "inconclusive"


def told(
    claims: Sequence[Claim],
    results: Any,
    scale: str,
    *names: str,
    registered: Mapping[str, Sequence[str]] | None = None,
) -> "Markdown":
    """Some claims as a reader meets them: sentence, statistic, test, and what came of it.
    No names: all of them.

    registered: by claim, what a study of its own says of it, in Markdown; it stands first.
    """
    from IPython.display import Markdown

    by_name = {claim.name: claim for claim in claims}
    lines = []
    for name in names or by_name:
        claim = by_name[choose("claim", name, by_name)]
        lines += [
            f"- **Claim {claim.name}:** *{claim.sentence}*",
            *(f"  - {text}" for text in (registered or {}).get(name, ())),
            f"  - *This run:* {_in_words(claim, claim.measure(results), scale)}",
        ]
    return Markdown("\n".join(lines))


def _in_words(claim: Claim, e: Estimate, scale: str) -> str:
    if e.n == 0:
        found = "not measured"
    elif math.isnan(e.low):
        found = f"{e.mean:.3g}"
    else:
        found = str(e)
    caveat = f" It can refute the claim, not support it: {claim.caveat}." if claim.caveat else ""
    return (
        f"{claim.statistic}: {found}; **{claim.verdict(e, scale)}** (supported if the whole"
        f" 95 % interval, {claim.interval}, lies above {claim.threshold:g}).{caveat}"
    )


def verdicts(claims: Sequence[Claim], results: Any, scale: str) -> pd.DataFrame:
    """A row per claim: the statistic's mean and interval over seeds, n, the verdict, the scale."""
    rows: list[Mapping[str, Any]] = []
    for claim in claims:
        e = claim.measure(results)
        rows.append(
            {
                "claim": claim.name,
                "statistic": claim.statistic,
                "mean": e.mean,
                "low": e.low,
                "high": e.high,
                "n": e.n,
                "supported above": claim.threshold,
                "verdict": claim.verdict(e, scale),
                "caveat": claim.caveat,
                "scale": scale,
            }
        )
    return pd.DataFrame(rows)


def short(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The table of `verdicts` as a reader sees it at the end:
    claim, what was found, the threshold, the verdict.
    """
    names = {"mean": "found", "low": "found_low", "high": "found_high"}
    columns = ["claim", *names.values(), "n", "supported above", "verdict"]
    return verdicts.rename(columns=names)[columns]
