"""What a study compares: settings by label, and the searches that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pandas as pd

from nasutils.errors import choose
from nasutils.training.experiment import Experiment


@dataclass(frozen=True)
class Variant:
    """method, options: see `Experiment`. recipe:
    fields of `methods.Recipe` beside those of all searches.
    """

    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def experiment(self, recipe: Mapping[str, Any], **setting: Any) -> Experiment:
        """The search; recipe, setting: of all searches, fields of `Experiment`."""
        return Experiment(
            method=self.method,
            options=dict(self.options),
            recipe={**recipe, **self.recipe},
            **setting,
        )


Variants = Mapping[str, Variant]
V = TypeVar("V", bound=Variant)


def chosen(variants: Mapping[str, V], labels: Sequence[str]) -> Mapping[str, V]:
    """The variants of these labels, all of them if there is none.
    Raises ValueError for an unknown label.
    """
    return {choose("variant", label, variants): variants[label] for label in labels or variants}


def searches(
    variants: Variants, seeds: Sequence[int], **setting: Any
) -> dict[tuple[str, int], Experiment]:
    """The searches by label and seed; setting: see `Variant.experiment`."""
    found = {}
    for seed in seeds:
        for label, variant in variants.items():
            found[label, seed] = variant.experiment(seed=seed, **setting)
    return found


def of_label(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """The rows of the searches of a variant."""
    return table[table["method"] == label]
