"""What each method's paper asks of a search, by method, space and preset:
one table, each row with its source.

    recipe("sp-darts", space, "published").batch
    default_options("sp-darts", "s2", "published")["sparse"]

Rows apply from the first to the last: what a later one says of a field replaces what an earlier
one said. So the table begins with the spaces (what holds for every method there) and goes on with
the methods. A space that no row names brings its own, see `recipe`; methods have no branch for a
space. A method that is not ours follows the rows of the one that it derives from, see
`methods.followed`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from nasutils.data import SPLITS
from nasutils.errors import check_fields, choose, positive, whole
from nasutils.methods import schedules
from nasutils.spaces.base import Space

WARMUP_RULES = ("proper", "released")
ORDERS = ("weights-first", "alpha-first", "together")
VALID_BATCHES = ("replacement", "distinct")


@dataclass(frozen=True)
class Recipe:
    """What a search asks of the loop; `dataclasses.replace` overrides.

    weight_lr falls along a cosine to weight_lr_end (equal values: constant), after `warmup` of the
    epochs in which it grows linearly; warmup_rule: `proper`, or `released`, see
    `schedules.warmup_cosine`. clip: bound of the gradient norm, 0 for none, over the weights, and
    over the weights and alpha together if clip_includes_alpha (what the released NAS-Bench-201
    code does). order: which of the two updates of an iteration comes first; `together`: neither,
    both gradients are taken at the same point (`Method.joint_gradients`). split: see
    `data.search_split`. alpha_from: first epoch in which alpha is updated. augment: crop and flip
    the images (to be set to False for SVHN on LHD, as its paper has it). negligible: an operation
    of at most this weight is not run in a weight step (2^-24: what float32 cannot add to 1); alpha
    steps run all that have a gradient, which Adam scales up however small it is.
    valid_batch: how alpha's images of a step are drawn: with `replacement`, or `distinct` ones, as
    in the released code of DARTS and LHD (between steps an image may come again in both). The
    default is how all runs so far were drawn.

    Raises ValueError naming the field that is out of range.
    """

    epochs: int = 50
    batch: int = 64
    weight_lr: float = 0.025
    weight_lr_end: float = 0.001
    warmup: int = 0
    warmup_rule: str = "proper"
    weight_decay: float = 3e-4
    momentum: float = 0.9
    nesterov: bool = False
    clip: float = 5.0
    clip_includes_alpha: bool = False
    order: str = "alpha-first"
    split: str = "half"
    alpha_from: int = 0
    augment: bool = True
    negligible: float = 0.0
    valid_batch: str = "replacement"

    def __post_init__(self) -> None:
        whole("batch", self.batch)
        positive("weight_lr", self.weight_lr)
        check_fields(self, below_one=("momentum", "negligible"))
        named = {
            "warmup_rule": WARMUP_RULES,
            "order": ORDERS,
            "split": SPLITS,
            "valid_batch": VALID_BATCHES,
        }
        for name, choices in named.items():
            choose(name, getattr(self, name), choices)

    def rate(self, epoch: float) -> float:
        """The weight rate; it moves within an epoch (a fraction) only while it warms up."""
        at = epoch if epoch < self.warmup else int(epoch)
        rest = self.epochs - self.warmup
        start, end = self.weight_lr, self.weight_lr_end
        if self.warmup and self.warmup_rule == "released":
            return schedules.warmup_cosine(at, rest, self.warmup, start, end)
        if at < self.warmup:
            return start * at / self.warmup
        return schedules.cosine(at - self.warmup, rest, start, end)


def cosine_rate(start: float, end: float) -> dict[str, Any]:
    """A weight rate that falls along a cosine, as fields of the recipe."""
    return {"weight_lr": start, "weight_lr_end": end}


def constant_rate(rate: float) -> dict[str, Any]:
    """A constant weight rate, as fields of the recipe."""
    return cosine_rate(rate, rate)


class Row(NamedTuple):
    """What a source asks of some methods on some spaces under a preset;
    names are separated by blanks, `*` is any.

    recipe: fields of `Recipe`. options: of the methods (alpha's rate and decay are among them;
    `warmup` is how long alpha rests in PC-DARTS and DrNAS, and how long T = 1 in PCD and EDD).
    source: a paper, or the file of its authors' code; `ours` where no paper has the pair.
    revision: 2 for a row that came or changed after searches had been kept under its names; such a
    search has a name of its own (`Experiment.params`), so that it is not taken for them.
    """

    methods: str
    spaces: str
    preset: str
    source: str
    recipe: Mapping[str, Any] = MappingProxyType({})
    options: Mapping[str, Any] = MappingProxyType({})
    revision: int = 1

    def names(self, method: str, space: str, preset: str) -> bool:
        """Whether the row says something of this search."""
        asked = (method, space, preset)
        for listed, name in zip((self.methods, self.spaces, self.preset), asked, strict=True):
            if listed != "*" and name not in listed.split():
                return False
        return True


_DARTS, _S = "darts darts7", "s1 s2 s3 s4"
_ALL_DARTS = f"{_DARTS} {_S}"
_LHD_BASELINES = "milenas gdas pc-darts darts-minus beta-darts surgenas"

# A row is a line or two: whose it is, its source, and what it asks.
# fmt: off
TABLE = (
    # Spaces: what holds there for every method.
    Row("*", "*", "*", "Adam's rate: quark0/darts, cnn/train_search.py",
        options={"alpha_lr": 3e-4, "alpha_decay": 0.0}),
    Row("*", _ALL_DARTS, "*",
        "quark0/darts, cnn/train_search.py; S1-S4: xiangning-chen/SmoothDARTS,"
        " sota/cnn/train_search*.py",
        recipe={**cosine_rate(0.025, 0.001), "batch": 64, "weight_decay": 3e-4,
                "order": "alpha-first", "split": "half"}),
    Row("*", "nasbench201", "*",
        "chaoji90/SP-DARTS, AutoDL-Projects_sp: setup/baseline/DARTS.config,"
        " exps/algos/DARTS-V1.py",
        recipe={**cosine_rate(0.025, 0.001), "batch": 256, "weight_decay": 5e-4,
                "nesterov": True, "order": "weights-first", "split": "nasbench201"}),
    Row("*", "nasbench201", "released",
        "D-X-Y/AutoDL-Projects, exps/NAS-Bench-201-algos/DARTS-V1.py: the clipped parameters of"
        " the network include alpha",
        recipe={"clip_includes_alpha": True}),
    Row("*", "lhd", "*", "chaoji90/LHD, search/*/train_search_*.py",
        recipe={**cosine_rate(0.025, 3e-4), "batch": 176, "weight_decay": 3e-4,
                "order": "alpha-first", "split": "half"}),
    Row("*", f"{_ALL_DARTS} lhd", "released",
        "quark0/darts, cnn/train_search.py; chaoji90/LHD, search/*/train_search_*.py: the first"
        " batch of a fresh pass over the validation images",
        recipe={"valid_batch": "distinct"}, revision=2),
    # DARTS, and its two rates exchanged.
    Row("darts ex-darts", "*", "*", "quark0/darts, cnn/train_search.py",
        options={"alpha_decay": 1e-3}),
    Row("darts ex-darts", "lhd", "released", "chaoji90/LHD, search/DARTS",
        options={"alpha_decay": 0.0}),
    Row("ex-darts", "*", "*",
        "chaoji90/SP-DARTS, AutoDL-Projects_sp/setup/exchange (NAS-Bench-201; elsewhere ours)",
        recipe=constant_rate(3e-4), options={"alpha_lr": 0.025}),
    # SmoothDARTS: DARTS's recipe, and how far the mixing weights are perturbed.
    Row("sdarts-rs sdarts-adv", "*", "*",
        "xiangning-chen/SmoothDARTS, sota/cnn/train_search.py (LHD: ours, it has none)",
        options={"alpha_decay": 1e-3, "epsilon_start": 0.03, "epsilon_end": 0.3}),
    Row("sdarts-adv", "*", "*", "xiangning-chen/SmoothDARTS, attacker/perturb.py",
        options={"steps": 7}),
    Row("sdarts-rs sdarts-adv", "nasbench201", "*",
        "xiangning-chen/SmoothDARTS, nasbench201/train_search.py (it splits in halves by index)",
        recipe={"epochs": 100, "batch": 64, "weight_decay": 3e-4, "nesterov": False,
                "order": "alpha-first", "clip_includes_alpha": False}),
    # SP-DARTS. sparse: T_s, ratio: T_d / T_s.
    Row("sp-darts", "nasbench201", "*",
        "chaoji90/SP-DARTS, AutoDL-Projects_sp/exps/algos/DARTS-V1-10.py",
        recipe=constant_rate(0.05),
        options={"sparse": 1.1e-3, "ratio": 11.0, "schedule": "linear"}),
    Row("sp-darts", _DARTS, "*", "chaoji90/SP-DARTS, SP-DARTS/train_search_mf.py",
        recipe={**constant_rate(0.05), "batch": 80},
        options={"sparse": 1e-3, "ratio": 10.0, "schedule": "linear"}),
    Row("sp-darts", _DARTS, "released",
        "chaoji90/SP-DARTS, SP-DARTS/model_search.py, Network.genotype",
        options={"policy": "top2-sp"}),
    Row("sp-darts", _S, "*", "chaoji90/SP-DARTS, SmoothDARTS/sota/cnnmul/train_search.py",
        recipe={**constant_rate(0.025), "batch": 128},
        options={"ratio": 10.0, "schedule": "offset"}),
    Row("sp-darts", "s1", "published", "chaoji90/SP-DARTS, README",
        options={"sparse": 7e-4}),
    Row("sp-darts", "s2", "published", "chaoji90/SP-DARTS, README",
        options={"sparse": 6e-4}),
    Row("sp-darts", "s3", "published", "chaoji90/SP-DARTS, README",
        options={"sparse": 5e-4}),
    Row("sp-darts", "s4", "published", "chaoji90/SP-DARTS, README",
        options={"sparse": 4e-4}),
    Row("sp-darts", _S, "released",
        "chaoji90/SP-DARTS, SmoothDARTS/sota/cnnmul/train_search.py (no script takes the README's"
        " values)",
        options={"sparse": 3e-4, "twice": True, "policy": "top2-s1-s4"}),
    Row("sp-darts", "lhd", "*", "chaoji90/LHD, search/SP-DARTS",
        recipe=constant_rate(0.025),
        options={"sparse": 1.5e-3, "ratio": 10.0, "schedule": "warmup"}),
    # PCD- and EDD-DARTS.
    Row("pcd-darts edd-darts", "*", "*", "chaoji90/PCDEDD, all of its search scripts",
        recipe=constant_rate(0.025)),
    Row("pcd-darts edd-darts", _DARTS, "*", "chaoji90/PCDEDD, PCDEDD-DARTS/train_search_*.py",
        recipe={"batch": 80}),
    Row("pcd-darts edd-darts", _DARTS, "released",
        "chaoji90/PCDEDD, PCDEDD-DARTS/model_search_cyc.py, Network.genotype",
        options={"policy": "top2-small-temperature"}),
    Row("pcd-darts edd-darts", _S, "*", "chaoji90/PCDEDD, SmoothDARTS/sota/pcdedd",
        recipe={"batch": 192}),
    Row("pcd-darts edd-darts", _S, "released", "chaoji90/PCDEDD, SmoothDARTS/sota/pcdedd",
        options={"twice": True, "policy": "top2-s1-s4"}),
    Row("pcd-darts", "nasbench201", "*",
        "chaoji90/PCDEDD, AutoDL-Projects_pcd/exps/algos/DARTS-V1-10.py",
        options={"decay": 0.11, "warmup": 5}),
    Row("pcd-darts", _DARTS, "*", "chaoji90/PCDEDD, PCDEDD-DARTS/train_search_cyc.py",
        options={"decay": 0.11, "warmup": 0}),
    Row("pcd-darts", "s1", "*", "chaoji90/PCDEDD, README",
        options={"decay": 0.10, "warmup": 0}),
    Row("pcd-darts", "s2", "*", "chaoji90/PCDEDD, README",
        options={"decay": 0.11, "warmup": 0}),
    Row("pcd-darts", "s3", "*", "chaoji90/PCDEDD, README",
        options={"decay": 0.12, "warmup": 0}),
    Row("pcd-darts", "s4", "*", "chaoji90/PCDEDD, README",
        options={"decay": 0.13, "warmup": 0}),
    Row("pcd-darts", "lhd", "*", "ours: as on the DARTS space",
        options={"decay": 0.11, "warmup": 0}),
    Row("edd-darts", "nasbench201", "*",
        "chaoji90/PCDEDD, AutoDL-Projects_edd/exps/algos/DARTS-V1-10.py",
        options={"strength": 0.04, "warmup": 10, "per_edge": False}),
    Row("edd-darts", "nasbench201", "released",
        "chaoji90/PCDEDD, the same file: the gradient is the plain one",
        options={"noisy": False}),
    Row("edd-darts", _DARTS, "*", "chaoji90/PCDEDD, PCDEDD-DARTS/train_search_pl.py",
        options={"strength": 0.06, "warmup": 5, "per_edge": True}),
    Row("edd-darts", "s1", "*", "chaoji90/PCDEDD, README",
        options={"strength": 0.12, "warmup": 5, "per_edge": True}),
    Row("edd-darts", "s2", "*", "chaoji90/PCDEDD, README",
        options={"strength": 0.24, "warmup": 5, "per_edge": True}),
    Row("edd-darts", "s3", "*", "chaoji90/PCDEDD, README",
        options={"strength": 0.48, "warmup": 5, "per_edge": True}),
    Row("edd-darts", "s4", "*", "chaoji90/PCDEDD, README",
        options={"strength": 0.96, "warmup": 5, "per_edge": True}),
    Row("edd-darts", "lhd", "*", "ours: as on the DARTS space",
        options={"strength": 0.06, "warmup": 5, "per_edge": True}),
    # The baselines of the LHD benchmark. Where nothing is said of a method on a space, the space's
    # recipe is taken; it is then ours.
    Row(_LHD_BASELINES, "*", "published", "as DARTS: quark0/darts, cnn/train_search.py",
        options={"alpha_decay": 1e-3}),
    Row("milenas", "*", "*", "He et al., CVPR 2020, section 3; chaoji90/LHD, search/MiLeNAS",
        recipe={"order": "together"}),
    Row("gdas", "lhd", "*", "chaoji90/LHD, search/GDAS",
        recipe={"batch": 256, "weight_lr": 0.05}),
    Row("beta-darts", "lhd", "*", "chaoji90/LHD, search/Beta-DARTS",
        recipe={"batch": 128}),
    Row("surgenas", "lhd", "*", "chaoji90/LHD, search/SurgeNAS",
        recipe={"batch": 160}),
    Row("darts-minus surgenas", f"{_DARTS} {_S}", "*",
        "as DARTS (the revision: an auxiliary skip connection of its own on every edge)",
        revision=2),
    Row("pc-darts", "*", "*", "yuhuixu1993/PC-DARTS, train_search.py",
        options={"alpha_lr": 6e-4, "warmup": 15}),
    Row("pc-darts", _DARTS, "*", "yuhuixu1993/PC-DARTS, train_search.py",
        recipe={**cosine_rate(0.1, 0.0), "batch": 256}, revision=2),
    Row("pc-darts", "lhd", "*", "chaoji90/LHD, search/PC-DARTS",
        recipe={**cosine_rate(0.1, 0.0), "batch": 576}),
    Row("gaea-bilevel gaea-erm", "*", "*",
        "liamcli/gaea_release, configs/cnn/search_method (on the DARTS space theirs goes with"
        " PC-DARTS's recipe)",
        options={"alpha_lr": 0.1}),
    Row("gaea-bilevel gaea-erm", "nasbench201", "*",
        "liamcli/gaea_release, README, configs/cnn/mode/search_nasbench201.yaml (its cosine would"
        " end at epoch 50)",
        recipe={"epochs": 25, "batch": 64, "weight_decay": 3e-4, "nesterov": False,
                "order": "alpha-first"},
        revision=2),
    Row("gaea-erm surgenas", "*", "*",
        "chaoji90/LHD, search/GAEA/train_search_gaea_erm.py and search/SurgeNAS: single level",
        recipe={"order": "together", "split": "all"}),
    Row("drnas", "*", "published",
        "Chen et al., ICLR 2021, sections 2 and 4; xiangning-chen/DrNAS,"
        " DARTS-space/train_search.py",
        options={"distance": "l2", "read": "mean", "warmup": 10}),
    Row("drnas", "*", "released", "chaoji90/LHD, search/DrNAS",
        options={"distance": "none", "read": "softmax", "warmup": 0}),
    Row("drnas", _DARTS, "*", "xiangning-chen/DrNAS, DARTS-space/train_search.py",
        recipe=cosine_rate(0.1, 0.0), options={"alpha_lr": 6e-4}, revision=2),
    Row("drnas", _S, "*",
        "ours: DARTS's recipe (the revision: stages are cut as on the DARTS space)",
        revision=2),
    Row("drnas", "nasbench201", "*",
        "xiangning-chen/DrNAS, 201-space/train_search.py (it splits in halves by index)",
        recipe={"epochs": 100, "batch": 64, "weight_decay": 3e-4, "nesterov": False,
                "order": "alpha-first"},
        options={"warmup": 0}, revision=2),
)
# fmt: on


def rows(method: str, space: str, preset: str) -> Iterator[Row]:
    """What the table says of a search, from the first to the last row."""
    return (row for row in TABLE if row.names(method, space, preset))


def recipe(method: str, space: Space, preset: str) -> Recipe:
    """The recipe of a method on a space.

    A space that no row names is taken with its own (`Space.recipe`), from which the rows of the
    method for all spaces depart. Raises ValueError if it has none.
    """
    found = _start(space)
    for row in rows(method, space.name, preset):
        found = replace(found, **row.recipe)
    return found


def _start(space: Space) -> Recipe:
    named = " ".join(row.spaces for row in TABLE if row.spaces != "*").split()
    if space.name in named:
        return Recipe()
    if space.recipe is None:
        known = ", ".join(dict.fromkeys(named))
        raise ValueError(
            f"no recipe for the space {space.name!r}: give its class `recipe ="
            " methods.Recipe(batch=...)`, or pass recipe= to methods.get (the table in"
            f" nasutils.methods.recipes has {known})"
        )
    return space.recipe


def default_options(method: str, space: str, preset: str) -> dict[str, Any]:
    """The options of a method on a space, by name; what no row says is not there."""
    return {
        name: value for row in rows(method, space, preset) for name, value in row.options.items()
    }


def revision(method: str, space: str, preset: str) -> int:
    """The highest revision among the rows of a search."""
    return max(row.revision for row in rows(method, space, preset))
