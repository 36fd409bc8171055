"""Our search step against the naive one of the field, per space:
paired and interleaved in one process.

Run: python tests/benchmarks/bench.py [--quick] [--device cuda] [--peer PATH ...]

* A step is one weight update on a training batch and one first-order alpha update on a validation
  batch. The naive step back-propagates into weights and alpha in both, as the field's code does.
* Both get the same batches and start from the same weights. A round runs every variant once, one
  after the other; a ratio is taken within a round, and its median, smallest and largest value over
  the rounds reported. `naive, again` is a second naive network: its ratio shows the noise.
* The drawn genotypes use every operation equally often, in random places: a round's value is the
  mean over the five of them, the smallest and largest ratio are those of single genotypes.
* Time on a CPU with one thread is processor time of the process, so other programs disturb little;
  with more threads it is wall-clock time (needs an idle machine); on a GPU it is the time between
  two events.
* `held` is what one forward keeps for its backward, the larger of the two updates, without the
  weights.
* `error` is relative to the largest number, in float64, on a batch of 4. Where one operation per
  edge is left, the exact alpha gradient is 0 unless noise is added to it (sparse-noisy softmax).
* `--peer PATH` measures something else, and only that: our steps against the one that another
  project's own code makes, from a checkout of it. Known are the LHD authors', the DARTS authors'
  and AutoDL-Projects (`peers.py`, which says how to add one). A checkout's code runs in this
  process. A second table says in which parts a step spends its time. The LHD authors' GDAS samples
  one operation per node of a cell, five in all; the published rule, ours unless told otherwise,
  one per edge, twenty in all: rows of both stand beside theirs.
* The float32 convolutions of a GPU use TF32, PyTorch's default, in both. There our steps replay
  CUDA graphs, as in a search; `launched one by one` is the same step without.
"""

import argparse
import csv
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).parents[2]))

from nasutils import data, spaces
from nasutils import stamp as stamps
from nasutils.training.cuda_graphs import SEEN
from nasutils.training.loop import Batch
from tests.benchmarks.peers import Layout, Peer, layout
from tests.benchmarks.variants import (
    SMALL_T,
    SMALL_T_NOISY,
    Machine,
    Naive,
    Ops,
    Ours,
    Setting,
    Variant,
    drawn,
    everywhere,
    in_layout,
    random_images,
)

LEGEND = """\
A step is one weight update on a training batch and one alpha update on a validation batch.

- *naive*: every operation is computed by itself, as the field's code does;
- *dense*: our step with all operations at their weights;
- *one operation per edge*: our step when all others weigh exactly 0; *drawn*: at random, five times;
  *noisy*: by the sparse-noisy softmax, whose gradient needs all operations;
- *naive, again*: a second naive network, whose ratio shows the noise;
- *pipeline*: loading and augmenting a batch: ours on the device, the other image by image;
- *ratio*: the row's ms divided by the *ms of that* which it is compared with, median of rounds;
- *held*: memory that a forward pass keeps for its backward: of what is compared with -> of the row;
- *float64 error*: of logits and of gradients, relative to their largest number.

Tables were measured one after the other: compare their ratios, not their ms."""
"""What the rows and columns of the tables are."""
PIPELINE_BATCH = 64
OTHER_METHODS = {
    "PC-DARTS": ("pc-darts", {}),
    "GDAS": ("gdas", {}),
    "single level": ("gaea-erm", {}),
}
"""Rows of LHD: the operations see a part of the channels, one operation per edge is sampled,
one pass for both.
"""


@dataclass
class Row:
    """A line of the table. Seconds are medians over rounds,
    of the row and of what it is compared with.
    """

    setting: str
    row: str
    reference: str
    batch: int
    threads: int
    dtype: str
    layout: str
    reference_seconds: float
    seconds: float
    ratio: float
    ratio_min: float
    ratio_max: float
    reference_held_mib_per_image: float | None = None
    held_mib_per_image: float | None = None
    error_output: float | None = None
    error_alpha_gradient: float | None = None
    error_weight_gradient: float | None = None


Times = dict[str, list[list[float]]]
"""Row -> round -> seconds of each of its variants (one, or one per drawn genotype)."""


def interleave(
    steps: Mapping[str, Sequence[Callable[[], object]]], rounds: int, machine: Machine
) -> Times:
    """Run everything to warm up (until graphs are recorded), then `rounds` times,
    one after the other.
    """
    times: Times = {name: [] for name in steps}
    warm = SEEN + 1 if machine.device == "cuda" else 1
    for turn in range(-warm, rounds):
        for name, works in steps.items():
            seconds = [machine.seconds(work) for work in works]
            if turn >= 0:
                times[name].append(seconds)
    return times


def timed_steps(
    variants: Mapping[str, Sequence[Variant]], setting: Setting
) -> dict[str, list[Callable[[], object]]]:
    ours = next(v for group in variants.values() for v in group if isinstance(v, Ours))
    batches = ours.batches(setting.batch)

    def work(variant: Variant) -> Callable[[], object]:
        train, valid = (in_layout(variant, b) for b in batches)
        return lambda: variant.step(train, valid)

    return {name: [work(v) for v in group] for name, group in variants.items()}


def paired(times: Times, row: str, reference: str) -> dict[str, float]:
    """The columns of seconds and ratios."""
    theirs = [seconds[0] for seconds in times[reference]]
    ours = [statistics.mean(seconds) for seconds in times[row]]
    single = [t / r for seconds, r in zip(times[row], theirs, strict=True) for t in seconds]
    return {
        "reference_seconds": statistics.median(theirs),
        "seconds": statistics.median(ours),
        "ratio": statistics.median(t / r for t, r in zip(ours, theirs, strict=True)),
        "ratio_min": min(single),
        "ratio_max": max(single),
    }


def held(variant: Variant, batch: Batch) -> float:
    """MiB per image that a forward keeps for its backward, each storage once,
    the weights not counted.
    """
    batch = in_layout(variant, batch)
    weights = {p.untyped_storage().data_ptr() for p in variant.net.parameters()}
    sizes = []
    for loss in variant.losses(batch):
        storages = {}

        def keep(x: Tensor, storages: dict = storages) -> Tensor:
            storages[x.untyped_storage().data_ptr()] = x.untyped_storage()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            kept_alive = loss()
        sizes.append(sum(s.nbytes() for at, s in storages.items() if at not in weights))
        del kept_alive
    return max(sizes) / 2**20 / len(batch.labels)


def errors(
    setting: Setting, machine: Machine, kind: tuple[str, Mapping], ops: Ops | None
) -> list[float]:
    """Relative error of our logits, alpha gradient and weight gradient,
    as the two updates compute them.
    """
    ours = Ours(setting, machine, kind, ops, "float64")
    naive = Naive(setting, machine, ours)
    batch, alphas = ours.batches(4)[0], list(ours.method.alphas.values())
    logits = ours.net(batch.images, *ours.weight_pass())
    to_weights = torch.autograd.grad(
        F.cross_entropy(logits, batch.labels), ours.search.weights, materialize_grads=True
    )
    to_alpha = torch.autograd.grad(ours.losses(batch)[1](), alphas, materialize_grads=True)
    truth = naive.net(batch.images.contiguous(), ours.method.mixing())
    loss = F.cross_entropy(truth, batch.labels)
    gradients = torch.autograd.grad(loss, [*alphas, *naive.net.parameters()])
    alpha_truth, weight_truth = gradients[: len(alphas)], gradients[len(alphas) :]
    named = naive.unstack(
        dict(zip((n for n, _ in ours.net.named_parameters()), to_weights, strict=True))
    )
    found = torch.cat([named[n].flatten() for n, _ in naive.net.named_parameters()])
    pairs = [
        (logits, truth),
        (
            torch.cat([g.flatten() for g in to_alpha]),
            torch.cat([g.flatten() for g in alpha_truth]),
        ),
        (found, torch.cat([w.flatten() for w in weight_truth])),
    ]
    return [((a - b).abs().max() / b.abs().max().clamp(min=1e-300)).item() for a, b in pairs]


def worst_errors(setting: Setting, machine: Machine, group: Sequence[Variant]) -> dict[str, float]:
    """The columns of errors: the largest of a row's variants;
    none for other mathematics: bf16, `OTHER_METHODS`.
    """
    equal = [
        v
        for v in group
        if isinstance(v, Ours)
        and v.dtype == "float32"
        and v.given[0] not in OTHER_METHODS.values()
    ]
    found = [errors(setting, machine, *v.given) for v in equal]
    names = ("error_output", "error_alpha_gradient", "error_weight_gradient")
    return dict(zip(names, map(max, zip(*found, strict=True)), strict=False))


def variants_of(
    setting: Setting, machine: Machine
) -> tuple[dict[str, list[Variant]], dict[str, str]]:
    """What is measured in a setting, and for each row the row it is compared with."""
    dense, space = Ours(setting, machine), spaces.get(setting.space)

    def sparse(kind: tuple[str, Mapping], genotypes: Sequence[Ops]) -> list[Variant]:
        return [Ours(setting, machine, kind, ops) for ops in genotypes]

    variants: dict[str, list[Variant]] = {
        "naive": [Naive(setting, machine, dense)],
        "dense": [dense],
        "one operation per edge, drawn": sparse(SMALL_T, drawn(space)),
        "one operation per edge, all skip": sparse(SMALL_T, [everywhere(space, "skip_connect")]),
    }
    if setting.space == "nasbench201":
        variants["naive, again"] = [Naive(setting, machine, dense)]
        variants["one operation per edge, all 3x3"] = sparse(
            SMALL_T, [everywhere(space, "nor_conv_3x3")]
        )
        variants["one operation per edge, drawn, noisy"] = sparse(SMALL_T_NOISY, drawn(space))
    if setting.space == "lhd":
        variants |= {name: [Ours(setting, machine, kind)] for name, kind in OTHER_METHODS.items()}
    if machine.device == "cuda":
        variants["dense, launched one by one"] = [Ours(setting, machine, graphs=False)]
        variants["dense, bf16"] = [Ours(setting, machine, precision="bf16")]
    of_dense = ("one", *OTHER_METHODS)
    references = {
        row: "dense" if row.startswith(of_dense) else "naive" for row in variants if row != "naive"
    }
    return variants, references


def pipelines(setting: Setting, machine: Machine) -> dict[str, list[Callable[[], object]]]:
    """Crop, flip and normalise ten batches of 64:
    image by image as the field does (torchvision), and ours.
    """
    images, generator = (
        random_images(setting.side, machine.device),
        torch.Generator().manual_seed(0),
    )
    one = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomCrop(setting.side, padding=setting.side // 8),
            transforms.ToTensor(),
            transforms.Normalize(images.mean, images.std),
        ]
    )
    arrays = images.train.images[:PIPELINE_BATCH].permute(0, 2, 3, 1).contiguous().cpu().numpy()

    def field() -> None:
        for _ in range(10):
            torch.stack([one(Image.fromarray(a)) for a in arrays]).to(machine.device)

    def ours() -> None:
        for _ in range(10):
            index = torch.randint(len(images.train), (PIPELINE_BATCH,), generator=generator)
            chosen = images.train[index.to(machine.device)].images
            data.normalize(data.augment(chosen, generator), images)

    return {"pipeline, image by image": [field], "pipeline": [ours]}


def with_data(times: Times, setting: Setting) -> Times:
    """Adds, per round, the two batches of a step to the step, naive and ours."""
    share = 2 * setting.batch / PIPELINE_BATCH

    def added(step: str, pipeline: str) -> list[list[float]]:
        return [[s[0] + share * p[0]] for s, p in zip(times[step], times[pipeline], strict=True)]

    naive, ours = added("naive", "pipeline, image by image"), added("dense", "pipeline")
    return {**times, "naive with data": naive, "dense with data": ours}


def measure(setting: Setting, machine: Machine) -> list[Row]:
    """All rows of a setting."""
    variants, references = variants_of(setting, machine)
    times = interleave(
        {**timed_steps(variants, setting), **pipelines(setting, machine)}, setting.rounds, machine
    )
    for name in ("pipeline", "pipeline, image by image"):
        times[name] = [[t / 10 for t in seconds] for seconds in times[name]]
    times = with_data(times, setting)
    probe = variants["dense"][0].batches(8)[0]  # type: ignore[union-attr]
    memory = {
        row: statistics.mean(held(v, probe) for v in group) for row, group in variants.items()
    }
    rows = [
        Row(
            *_head(setting, machine, row, reference, variants[row][0]),
            **paired(times, row, reference),
            reference_held_mib_per_image=memory[reference],
            held_mib_per_image=memory[row],
            **worst_errors(setting, machine, variants[row]),
        )
        for row, reference in references.items()
    ]
    dense = variants["dense"][0]
    for row, reference in (
        ("dense with data", "naive with data"),
        ("pipeline", "pipeline, image by image"),
    ):
        rows.append(
            Row(*_head(setting, machine, row, reference, dense), **paired(times, row, reference))
        )
    rows[-1].batch = PIPELINE_BATCH
    return rows


def _head(setting: Setting, machine: Machine, row: str, reference: str, variant: Variant) -> tuple:
    return (
        setting.name,
        row,
        reference,
        setting.batch,
        machine.threads,
        variant.dtype,
        variant.layout,
    )


# Against other projects' own code


def against(
    path: Path, known: Layout, setting: Setting, machine: Machine
) -> tuple[list[Row], str]:
    """The rows of a checkout, and the table of the parts of their steps."""
    variants: dict[str, list[Variant]] = {}
    references = {}
    for name, network in known.networks.items():
        theirs = f"{name}, {known.project}"
        variants[theirs] = [Peer(path, network, setting, machine)]
        for row, step in network.rivals.items():
            variants[row] = [Ours(setting, machine, step)]
            references[row] = theirs
    steps = timed_steps(variants, setting)
    times = interleave(steps, setting.rounds, machine)
    rows = [
        Row(*_head(setting, machine, row, theirs, variants[row][0]), **paired(times, row, theirs))
        for row, theirs in references.items()
    ]
    return rows, parts_table(setting, steps) if machine.device == "cpu" else ""


PEERS = """Our search step against other projects' own code (`bench.py --peer PATH`), the same
batches, paired and interleaved; seconds are medians over rounds. The LHD authors' GDAS samples one
operation per node, 5 of a cell, as our `released` rule does; the published rule samples one per
edge, 20 of a cell."""
SHARES = """What the CPU time of a step's operators goes to (torch.profiler, mean of three steps), and
how many convolutions both of its forward passes run."""
PARTS = {
    "convolutions": ("conv",),
    "batch norms": ("batch_norm", "BatchNorm"),
    "pools": ("pool",),
    "ReLU": ("relu", "Relu", "threshold", "clamp_min"),
    "optimizers and clipping": ("Optimizer", "foreach", "vector_norm"),
}
"""Part of a step -> what the names of its operators have in them, or those they were called by."""
REST = "sums, products, copies, autograd"
PROFILED = 3


def parts(step: Callable[[], object]) -> tuple[dict[str, float], int]:
    """Share of each part in the CPU time that the operators of a step take, and how many
    convolutions its two forward passes run; means over PROFILED steps.
    """
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(PROFILED):
            step()
    spent = dict.fromkeys((*PARTS, REST), 0.0)
    for event in seen.events():
        spent[_part(event)] += event.self_cpu_time_total
    run = sum(event.name == "aten::conv2d" for event in seen.events())
    total = sum(spent.values())
    return {part: time / total for part, time in spent.items()}, round(run / PROFILED)


def _part(event: FunctionEvent | None) -> str:
    """Of the nearest operator, from this one upwards, that belongs to a part."""
    while event is not None:
        for part, names in PARTS.items():
            if any(name in event.name for name in names):
                return part
        event = event.cpu_parent
    return REST


def parts_table(setting: Setting, steps: Mapping[str, Sequence[Callable[[], object]]]) -> str:
    header = ("setting", "step", "convolutions run forward", *PARTS, REST)
    cells = []
    for row, (step, *_) in steps.items():
        shares, run = parts(step)
        cells.append([setting.name, row, str(run), *(f"{100 * s:.0f} %" for s in shares.values())])
    return table(header, cells)


def sweep(base: Setting, machine: Machine) -> list[Row]:
    """Naive and dense with one factor changed at a time."""
    rows = []
    for factor, values in (("batch", (16, 32, 64, 128)), ("channels", (8, 16, 32))):
        for value in values:
            setting = replace(base, name=f"{base.name}, {factor} {value}", **{factor: value})
            dense = Ours(setting, machine)
            variants: dict[str, list[Variant]] = {
                "naive": [Naive(setting, machine, dense)],
                "dense": [dense],
            }
            times = interleave(timed_steps(variants, setting), setting.rounds, machine)
            rows.append(
                Row(
                    *_head(setting, machine, "dense", "naive", dense),
                    **paired(times, "dense", "naive"),
                )
            )
    return rows


def line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Fixed cost and slope of the straight line through (x, y), least squares."""
    fit = statistics.linear_regression(*zip(*points, strict=True))
    return fit.intercept, fit.slope


def table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table in Markdown that is also readable as text."""
    widths = [max(len(c) for c in column) for column in zip(header, *cells, strict=True)]
    rows = [header, ["-" * w for w in widths], *cells]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    )


def main_table(rows: Sequence[Row]) -> str:
    header = (
        *("setting", "row", "compared with", "ratio (min to max)", "ms", "ms of that"),
        *("batch", "dtype", "layout", "held MiB/image", "float64 error: logits, alpha, weights"),
    )
    return table(header, [_cells(r) for r in rows])


def _cells(r: Row) -> list[str]:
    found = (r.error_output, r.error_alpha_gradient, r.error_weight_gradient)
    memory = (r.reference_held_mib_per_image, r.held_mib_per_image)
    return [
        *(r.setting, r.row, r.reference),
        f"{r.ratio:.3f} ({r.ratio_min:.3f} to {r.ratio_max:.3f})",
        *(f"{1000 * s:.4g}" for s in (r.seconds, r.reference_seconds)),
        *(str(r.batch), r.dtype, r.layout),
        "" if None in memory else "{:.2f} -> {:.2f}".format(*memory),
        "" if None in found else ", ".join(f"{e:.0e}" for e in found),
    ]


def sweep_table(rows: Sequence[Row]) -> str:
    """The sweep, and what a step costs before the first image and per image."""
    header = ("setting", "naive ms", "ours ms", "ratio (min to max)")
    cells = [[c[0], c[5], c[4], c[3]] for c in map(_cells, rows)]
    by_batch = [r for r in rows if ", batch " in r.setting]
    lines = [
        f"{name}: {1000 * fixed:.1f} ms + {1000 * slope:.2f} ms per image"
        for name, column in (("naive", "reference_seconds"), ("ours", "seconds"))
        for fixed, slope in [line([(r.batch, getattr(r, column)) for r in by_batch])]
    ]
    return table(header, cells) + "\n\nStraight line over the batch: " + "; ".join(lines) + "."


def write(out: Path, rows: Sequence[Row], report: str, stamp: Mapping) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "bench.md").write_text(report)
    (out / "stamp.json").write_text(json.dumps(stamp, indent=1) + "\n")
    with (out / "bench.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(r) for r in rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the tables (figures/bench; of peers its folder peers)"
    )
    parser.add_argument(
        "--peer",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a checkout of another project: only rows against its own code; may be repeated",
    )
    parser.add_argument(
        "--pairs", type=int, default=5, help="rounds; at most 3 of the paper's setting on a CPU"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--only", default="", help="settings whose name has this in it, e.g. 'DARTS, paper'"
    )
    parser.add_argument(
        "--quick", action="store_true", help="a smaller batch of the paper's setting, no sweep"
    )
    given = parser.parse_args()
    if given.pairs < 1 or given.threads < 1:
        parser.error("--pairs and --threads must be at least 1")
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: no CUDA device found")
    if given.out is None:
        given.out = Path("figures/bench/peers" if given.peer else "figures/bench")
    try:
        given.peer = [(path, layout(path)) for path in given.peer]
    except ValueError as error:
        parser.error(f"--peer: {error}")
    return given


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    machine = Machine(given.device, given.threads)
    few = given.pairs if given.device == "cuda" else min(given.pairs, 2 if given.quick else 3)
    size = 16 if given.quick else 64
    laptop = Setting("NAS-Bench-201, laptop", "nasbench201", 8, 2, 32, 16, given.pairs)
    settings = [
        laptop,
        Setting("NAS-Bench-201, paper", "nasbench201", 16, 5, size, 32, few),
        Setting("DARTS, paper", "darts", 16, 8, size, 32, few),
        Setting("LHD, paper", "lhd", 16, 8, size, 32, few),
        Setting("S2, paper", "s2", 16, 8, size, 32, few),
    ]
    settings = [setting for setting in settings if given.only in setting.name]
    stamp = stamps.stamp(machine.device)
    title = "Search step against other projects' own code" if given.peer else "Search step"
    head = f"# {title}, {stamp['device']}\n\n{_how(machine, stamp)}"
    if given.peer:
        rows, report = peers(given.peer, settings, machine)
        write(given.out, rows, f"{head}\n\n{report}\n", stamp)
        print(report)
        return
    rows = []
    head += f"\n\n{LEGEND}"
    report = f"{head}\n"
    for setting in settings:
        rows += measure(setting, machine)
        report = f"{head}\n\n{main_table(rows)}\n"
        write(given.out, rows, report, stamp)
    if not given.quick and laptop in settings:
        swept = sweep(laptop, machine)
        report += f"\n{sweep_table(swept)}\n"
        write(given.out, rows + swept, report, stamp)
    print(report)


def peers(
    checkouts: Sequence[tuple[Path, Layout]], settings: Sequence[Setting], machine: Machine
) -> tuple[list[Row], str]:
    """All rows against other projects' code, and the tables."""
    rows: list[Row] = []
    tables = []
    for path, known in checkouts:
        for setting in settings:
            if setting.space == known.space:
                found, shares = against(path, known, setting, machine)
                rows += found
                tables.append(shares)
    return rows, "\n\n".join([PEERS, main_table(rows), SHARES, *tables])


def _how(machine: Machine, stamp: Mapping) -> str:
    clock = (
        "CUDA events"
        if machine.device == "cuda"
        else "processor time"
        if machine.threads == 1
        else "wall clock"
    )
    return (
        f"{machine.threads} thread(s), {clock}, torch {stamp['torch']}, commit {stamp['commit']}."
    )


if __name__ == "__main__":
    main()
