"""EX-DARTS and selective stop: the variants compared.

The settings are those of the authors' experiment sheet (chaoji90/Selective-Stop and the setup
folder of chaoji90/SP-DARTS, AutoDL-Projects_sp/setup). The claims: `claims`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from nasutils import spaces
from nasutils.methods import Method, Recipe
from nasutils.methods.recipes import constant_rate, cosine_rate
from nasutils.studies import variants
from nasutils.training.experiment import Experiment, method_of

SPACE = spaces.get("nasbench201")


EPOCHS = 50
"""Length of the searches that the lengths of the warm-ups refer to."""


PROPORTION = 0.001 / 0.025
"""What a cosine of the study leaves of the weight rate at its end."""


@dataclass(frozen=True)
class Variant(variants.Variant):
    """How a search departs from DARTS on NAS-Bench-201.

    warmup: epochs, of a search of 50, by which it is longer and in which the weights warm up and
    alpha stands still; rule: see `Recipe.warmup_rule`. horizon: its length in multiples of the
    baseline's. curved: whether the Hessian's eigenvalue is measured.
    """

    method: str = "darts"
    warmup: int = 0
    rule: str = "proper"
    horizon: int = 1
    curved: bool = False

    def warmup_epochs(self, epochs: int) -> int:
        """The warm-up beside a search of so many epochs: in proportion, at least one."""
        return max(round(self.warmup * epochs / EPOCHS), 1) if self.warmup else 0

    def experiment(
        self,
        recipe: Mapping[str, Any],
        epochs: int = EPOCHS,
        eigenvalue_every: int = 0,
        **setting: Any,
    ) -> Experiment:
        """The search; epochs: those of the baseline.
        recipe, setting: of all searches, fields of `Experiment`.
        """
        warmup = self.warmup_epochs(epochs)
        if warmup:
            rule = self.rule
            recipe = {**recipe, "warmup": warmup, "warmup_rule": rule, "alpha_from": warmup}
        return super().experiment(
            recipe,
            epochs=self.horizon * epochs + warmup,
            eigenvalue_every=eigenvalue_every if self.curved else 0,
            **setting,
        )


def _warmups(length: int) -> dict[str, Variant]:
    return {
        f"warm-up {length}": Variant(warmup=length),
        f"warm-up {length}, as released": Variant(warmup=length, rule="released"),
    }


VARIANTS: Mapping[str, Variant] = {
    "DARTS": Variant(curved=True),
    "alpha decay x 5": Variant(options={"alpha_decay": 5e-3}),
    "alpha decay x 10": Variant(options={"alpha_decay": 1e-2}),
    "alpha rate 1e-3": Variant(options={"alpha_lr": 1e-3}),
    "alpha rate 2e-3": Variant(options={"alpha_lr": 2e-3}),
    "alpha rate 3e-3": Variant(options={"alpha_lr": 3e-3}),
    **_warmups(10),
    **_warmups(20),
    **_warmups(30),
    **_warmups(100),
    "SS setting": Variant(options={"alpha_lr": 1e-3}, recipe=constant_rate(0.015)),
    "EX-DARTS": Variant("ex-darts", curved=True),
    "EX-DARTS, weight rate x 10": Variant("ex-darts", recipe=constant_rate(3e-3)),
    "long horizon": Variant(options={"alpha_lr": 2.5e-3}, recipe=constant_rate(3e-4), horizon=10),
    "very long horizon": Variant(
        options={"alpha_lr": 1e-3}, recipe=constant_rate(3e-5), horizon=200
    ),
}
"""Label -> setting. `SS setting`: the one in which the paper's code tries selective stop.
`EX-DARTS, weight rate x 10` is ours, for searches that are too short to train weights at 3e-4."""


LONG = ("long horizon", "very long horizon")
"""10 and 200 times the baseline: searched only where they are named."""


CORE = ("DARTS", "EX-DARTS")
"""The variants that are searched from all seeds."""


JUDGED = ("DARTS", "SS setting", "EX-DARTS")
"""The variants that are judged by the stop criteria."""


def chosen(labels: Sequence[str]) -> Mapping[str, Variant]:
    """The variants of these labels, all but the long ones if there is none.
    Raises ValueError for an unknown label.
    """
    usual = [label for label in VARIANTS if label not in LONG]
    return variants.chosen(VARIANTS, labels or usual)


def searches(
    chosen: Mapping[str, Variant], seeds: Sequence[int], others: Sequence[int], **setting: Any
) -> dict[tuple[str, int], Experiment]:
    """The searches by label and seed; others: the seeds of variants that are not CORE.
    setting: see `Variant`.
    """
    found = {}
    for label, variant in chosen.items():
        for seed in seeds if label in CORE else others:
            found[label, seed] = variant.experiment(seed=seed, **setting)
    return found


Point = tuple[str, float, float]
"""Weight schedule (constant or cosine), initial weight rate, alpha rate:
a point of the map over learning rates.
"""


SCHEDULES = ("constant", "cosine")


NAMED: Mapping[Point, str] = {
    ("cosine", 0.025, 3e-4): "DARTS",
    ("cosine", 0.025, 1e-3): "alpha rate 1e-3",
    ("cosine", 0.025, 2e-3): "alpha rate 2e-3",
    ("cosine", 0.025, 3e-3): "alpha rate 3e-3",
    ("constant", 0.015, 1e-3): "SS setting",
    ("constant", 3e-4, 0.025): "EX-DARTS",
    ("constant", 3e-3, 0.025): "EX-DARTS, weight rate x 10",
}
"""The variants that are points of the map: they are not searched again."""


def grid(weight_rates: Iterable[float], alpha_rates: Iterable[float]) -> dict[Point, str]:
    """The points of the map over learning rates, with the label of each."""
    points = {}
    for schedule, w, a in product(SCHEDULES, weight_rates, alpha_rates):
        made_up = f"{schedule}, weights {w:g}, alpha {a:g}"
        points[schedule, w, a] = NAMED.get((schedule, w, a), made_up)
    return points


def grid_variants(points: Mapping[Point, str]) -> dict[str, Variant]:
    """The variant of every point; a cosine leaves 4 % of the rate, as in the baseline."""
    found = {}
    for (schedule, w, a), label in points.items():
        end = w * PROPORTION if schedule == "cosine" else w
        made = Variant(options={"alpha_lr": a}, recipe=cosine_rate(w, end))
        found[label] = VARIANTS.get(label, made)
    return found


def rules(experiment: Experiment) -> tuple[Method, Recipe]:
    """The method of a search, and the recipe that its loop follows."""
    method = method_of(experiment)
    return method, replace(method.recipe, **experiment.recipe)
