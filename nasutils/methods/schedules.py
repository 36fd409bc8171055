"""Temperature, probability and learning-rate schedules:
pure functions of the epoch (counted from 0).

Sources: the authors' code. PCD and EDD: chaoji90/PCDEDD, PCDEDD-DARTS/train_search_cyc.py and
train_search_pl.py; SP: chaoji90/SP-DARTS, SP-DARTS/train_search_mf.py, other spaces by
`recipes.TABLE`. Temperatures divide alpha inside a softmax.
"""

import math
from dataclasses import dataclass, replace

MU = 0.000399
"""E[max(0, a)] for a ~ N(0, 1e-3^2), as rounded in the released code
(exactly 1e-3 / sqrt(2 pi) = 3.98942e-4).
"""

PERIOD = 10
CYCLES_END = 40


def exponential_temperature(steps: float, decay: float) -> float:
    """T = mu / ln(1 + decay * steps), so that exp(mu / T) = 1 + decay * steps grows linearly in
    the steps.
    """
    return MU / math.log1p(decay * steps)


def _cycle(epoch: int) -> tuple[int, bool]:
    """Position in the released schedule of period 10:
    steps away from T = 1, and whether it is the final tail.
    """
    position = epoch % PERIOD
    if epoch >= CYCLES_END:
        return position + 1, True
    return min(position, PERIOD - position), False


def pcd_temperature(epoch: int, decay: float, warmup: int = 0) -> float:
    """Periodic schedule of PCD-DARTS: T goes from 1 over T_1 down to T_5 and back in ten epochs.

    From epoch 40 on it goes down from T_1 to T_10 in ten epochs, again and again.
    T_i = mu / ln(1 + decay * i); T = 1 before epoch `warmup`.

    As released, for 50 epochs, whatever the length of the search: one of 20 ends at T_1 on the way
    up, and one of 100 falls from T_1 to T_10 six times.
    """
    steps, _ = _cycle(epoch)
    return 1.0 if epoch < warmup or steps == 0 else exponential_temperature(steps, decay)


def linear_temperature(epoch: int, warmup: int = 0, top: float = 1.0) -> float:
    """The linear control of PCD: same cycle,
    T falling from `top` to 1e-3 in five steps (5e-4 in the ten of the tail).

    T = 1 before epoch `warmup`, whatever `top` is.
    """
    if epoch < warmup:
        return 1.0
    steps, tail = _cycle(epoch)
    floor, length = (0.0005, 10) if tail else (0.001, 5)
    return top - steps * (top - floor) / length


def monotone_temperature(epoch: int, decay: float, warmup: int = 0) -> float:
    """Exponential decay without cycles: T = mu / ln(1 + decay * (epoch - warmup + 1)),
    1 before `warmup`.
    """
    return 1.0 if epoch < warmup else exponential_temperature(epoch - warmup + 1, decay)


@dataclass(frozen=True)
class EDD:
    """State of the entropy-driven decay: temperature T,
    decay D and the number of updates so far.
    """

    temperature: float = 1.0
    decay: float = 0.0
    count: int = 0


def edd_due(epoch: int, warmup: int) -> bool:
    """Whether EDD moves at the start of this epoch:
    at `warmup`, then at multiples of 5, and at each one after 40.
    """
    return epoch == warmup or (epoch > warmup and (epoch % 5 == 0 or epoch > CYCLES_END))


def edd_update(state: EDD, epoch: int, entropy: float, strength: float) -> EDD:
    """One move of the entropy-driven decay: D <- (s H + D) / 2, T <- mu / ln(1 + D n),
    s doubled from epoch 40 on.

    entropy: H in nats of softmax(alpha / T) at the current T (summed over edges on NAS-Bench-201,
    mean per edge elsewhere). Call it at the epochs `edd_due` names. H = 0 leaves D to halve. If D
    is 0, T is infinite in the formula and the state's temperature is kept.
    """
    if epoch >= CYCLES_END:
        strength = 2 * strength
    decay = 0.5 * strength * entropy + 0.5 * state.decay
    count = state.count + 1
    if decay <= 0:
        return replace(state, decay=decay, count=count)
    return EDD(exponential_temperature(count, decay), decay, count)


@dataclass(frozen=True)
class TwoTemperatures:
    """SP-DARTS in one epoch: probability of a sparse iteration, its temperature,
    and that of a dense one.
    """

    sparse: float
    dense: float
    probability: float


def sp_linear(
    epoch: int, epochs: int, sparse: float, ratio: float, end: float = 1.0
) -> TwoTemperatures:
    """C_e = end * e / (epochs - 1), after a dense first epoch at T = 10 as on the DARTS space."""
    if epoch == 0:
        return TwoTemperatures(1.0, 10.0, 0.0)
    return TwoTemperatures(sparse, ratio * sparse, end * epoch / max(epochs - 1, 1))


def sp_cifar100(
    epoch: int, epochs: int, sparse: float, late: float, ratio: float
) -> TwoTemperatures:
    """NAS-Bench-201 on CIFAR-100: C rises by 0.9/49 to epoch 44 and stays;
    T_s changes to `late` at epoch 45.
    """
    frozen = round(0.9 * epochs)
    now = sp_linear(min(epoch, frozen - 1), epochs, sparse, ratio, end=0.9)
    return now if epoch < frozen else TwoTemperatures(late, ratio * late, now.probability)


def sp_offset(epoch: int, epochs: int, sparse: float, ratio: float = 10.0) -> TwoTemperatures:
    """S1-S4: C_e = 0.8 + 0.3 (e + 1) / epochs (0.006 per epoch of 50), no warm-up;
    above 1 every step is sparse.
    """
    return TwoTemperatures(sparse, ratio * sparse, 0.8 + 0.3 / epochs * (epoch + 1))


def sp_warmup(epoch: int, epochs: int, sparse: float, ratio: float = 10.0) -> TwoTemperatures:
    """LHD: dense at T = 10 for a tenth of the epochs (5 of 50),
    then C rises evenly to 1 in the last (by 1/45).
    """
    warmup = round(0.1 * epochs)
    if epoch < warmup:
        return TwoTemperatures(1.0, 10.0, 0.0)
    return TwoTemperatures(sparse, ratio * sparse, (epoch - warmup + 1) / (epochs - warmup))


def cosine(epoch: float, epochs: int, start: float, end: float = 0.0) -> float:
    """Learning rate falling along half a cosine from `start` at epoch 0 to `end` at `epochs`."""
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))


def warmup_cosine(epoch: float, epochs: int, warmup: int, start: float, end: float) -> float:
    """The weight rate of the released NAS-Bench-201 warm-up runs, quirk included.

    Linear in the (fractional) epoch up to `warmup`, then a cosine of length `epochs` that is cut
    off at epoch `epochs`, counted from 0 and not from the end of the warm-up; `end` after it.
    Source: chaoji90/SP-DARTS, AutoDL-Projects_sp/lib/procedures/optimizers.py, CosineAnnealingLR,
    with the settings of its setup/warmup.
    """
    if epoch >= epochs:
        return end
    if epoch < warmup:
        return start * epoch / warmup
    return cosine(epoch - warmup, epochs, start, end)


def growing(epoch: int, epochs: int, start: float, end: float) -> float:
    """A straight line from `start` at epoch 0 to `end` after the last one,
    as the epsilon of SmoothDARTS grows.
    """
    return start + (end - start) * epoch / epochs


def linear(epoch: int, epochs: int, start: float, end: float) -> float:
    """A straight line from `start` at epoch 0 to `end` at the last one,
    as the temperature of GDAS falls.
    """
    return start + (end - start) * epoch / max(epochs - 1, 1)
