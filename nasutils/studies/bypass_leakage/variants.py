"""What `notebooks/bypass_leakage.ipynb` compares."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from nasutils.studies import variants
from nasutils.studies.variants import Variant, Variants
from nasutils.training.experiment import Experiment

NEGLIGIBLE = 2.0**-24
"""Operations of at most this weight are not run in the weight steps of SP-DARTS:
float32 cannot add them to 1.
"""


def _mixed(**options: Any) -> Variant:
    return Variant("sp-darts", options, recipe={"negligible": NEGLIGIBLE})


VARIANTS: Variants = {
    "DARTS": Variant("darts"),
    "SP-DARTS": _mixed(),
    "always sparse": _mixed(schedule="always"),
    "never sparse": _mixed(schedule="never"),
    "T_s x 3": _mixed(sparse=3.3e-3, ratio=11 / 3),
    "ratio 100": _mixed(ratio=100.0),
}
"""The variants compared on NAS-Bench-201. `T_s x 3` keeps the dense temperature T_d = 0.0121;
`ratio 100` keeps T_s and makes T_d 0.11, at which the mixing weights are nearly as even as those
of DARTS."""


PROBED = ("DARTS", "SP-DARTS", "always sparse", "never sparse")
"""The variants in which leakage is measured."""


S_VARIANTS: Variants = {
    "DARTS": Variant("darts"),
    "SP-DARTS": _mixed(),
    "random cell": Variant("random"),
}
"""The variants compared on S1 to S4."""


def searches(
    chosen: Variants, seeds: Sequence[int], probe_every: int, **setting: Any
) -> dict[tuple[str, int], Experiment]:
    """The searches on NAS-Bench-201 by label and seed; setting: see `Variant.experiment`."""
    found = variants.searches(chosen, seeds, **setting)
    for (label, seed), search in found.items():
        if label in PROBED:
            found[label, seed] = replace(search, probe_every=probe_every)
    return found
