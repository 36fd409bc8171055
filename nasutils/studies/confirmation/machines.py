"""On what machines the runs of the plan were computed, and what of an outcome may rest on that."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import pandas as pd
from scipy import stats

from nasutils.measures.estimates import LEVEL, Finding
from nasutils.measures.searches import accuracy
from nasutils.runs import Run
from nasutils.studies.confirmation import figures, markdown
from nasutils.studies.confirmation.outcomes import ArmKey, Results, finding
from nasutils.studies.confirmation.plan import Arm, Hypothesis

MACHINES = """\
Another machine rounds sums differently, which makes of a seed another search. That it is one of
the same kind, so that an arm may be computed on several, is assumed, and looked at below. Where
processor seconds are compared, both arms ran on the same processor, by turns."""
ARMS = """\
Complete arms that were computed on several devices: the median of the last cell's test accuracy
on each, and p of Brunner and Munzel's test, two-sided (from five searches on each; not registered,
not corrected)."""
CLAIMS = """\
Arms were given to machines as these were at hand, not at random. So where the arms of a claim lie
on different devices, a difference of the methods could be one of the devices, too. The tests of
such claims again, on one device alone, where it has enough searches of each arm (not registered,
p not corrected). Where networks that the plan names were trained, its deviations say."""
FEWEST = 5


def run_table(parts: Sequence[Results]) -> pd.DataFrame:
    """A row per run that counts: the plan's commit, the arm, whether it is a search or a network,
    of which seed or network, the run folder (in figures/<scale>/runs) and the machine. A run that
    two parts share stands in the first.
    """
    rows = []
    for results in parts:
        commit = results.study.registered
        for kind, runs in (("search", results.searches), ("network", results.networks)):
            for (arm, which), run in runs.items():
                rows.append((commit, arm, kind, str(which), run.path.name, machine(run.stamp)))
    columns = ["registered", "arm", "kind", "which", "run", "machine"]
    return pd.DataFrame(rows, columns=columns).drop_duplicates("run")


def machine(stamp: Mapping[str, Any]) -> str:
    """What decides on the last bits of a run; of several, if others had begun it."""
    computers = [_computer(part) for part in (*stamp.get("before", ()), stamp)]
    return ", then ".join(dict.fromkeys(computers))


def _computer(stamp: Mapping[str, Any]) -> str:
    if "type" not in stamp:
        return "unknown"
    if stamp["type"] == "cpu":
        arithmetic = stamp["instructions"]
    else:
        arithmetic = "convolutions in TF32" if stamp["tf32"] else "float32"
    return f"{stamp['device']}, {arithmetic}, PyTorch {stamp['torch']}"


def device(run: Run) -> str:
    """Short name of the device of a run: CPU, or that of the GPU."""
    stamp = run.stamp  # read from its file
    if stamp["type"] == "cpu":
        return "CPU"
    name, *_ = stamp["device"].removeprefix("NVIDIA ").split()
    return name


def section(parts: Sequence[Results]) -> str:
    """What the page says of the machines, as Markdown."""
    text = ["## Machines", "", MACHINES, "", _computed(run_table(parts))]
    if arms := list(_arms(parts)):
        text += ["", ARMS, "", markdown.table(["arm", "by device", "p"], arms)]
    if spread := [test for results in parts for test in _spread(results)]:
        text += ["", CLAIMS, "", _repeated(spread), "", _alone(spread)]
    return "\n".join(text)


def _computed(runs: pd.DataFrame) -> str:
    """A row per machine and software."""
    rows = []
    for name, of_machine in runs.groupby("machine"):
        arms = of_machine["arm"].value_counts(sort=False)
        told = ", ".join(f"{arm} ({count})" for arm, count in arms.items())
        rows.append([str(name), str(len(of_machine)), told])
    return markdown.table(["machine", "runs", "of them"], rows)


# Arms


def _arms(parts: Sequence[Results]) -> Iterator[list[str]]:
    """A row per complete arm that was computed on several devices: its last cells on each."""
    for results in parts:
        papers = results.study.claims
        arms = {arm.name: arm for paper in papers for arm in figures.complete(results, paper)}
        for arm in arms.values():
            on: dict[str, list[Run]] = defaultdict(list)
            for seed in arm.seeds():
                run = results.searches[arm.name, seed]
                on[device(run)].append(run)
            if len(on) > 1:
                yield [arm.name, *_last_cells(on)]


def _last_cells(on: Mapping[str, Sequence[Run]]) -> tuple[str, str]:
    """Medians of the last cells of searches by their device, and p."""
    told = []
    samples = []
    for name, searches in sorted(on.items()):
        cells = [accuracy(run.records) for run in searches]
        told.append(f"{name} ({len(cells)}): {median(cells):.1f} %")
        samples.append(cells)
    return "; ".join(told), _differs(*samples)


def _differs(*samples: Sequence[float]) -> str:
    """p of Brunner and Munzel's test, two-sided; empty for more than two, or few values."""
    if len(samples) != 2 or min(map(len, samples)) < FEWEST:
        return ""
    return markdown.p_value(float(stats.brunnermunzel(*samples).pvalue))


# Claims


@dataclass(frozen=True)
class Spread:
    """A test whose runs, all of them there, were computed on several devices.

    where: how many runs of each arm on which device. whole: of all runs; alone: by device, where
    it has enough runs of every sample.
    """

    claim: str
    test: str
    where: str
    whole: Finding
    alone: Mapping[str, Finding]


def _spread(results: Results) -> Iterator[Spread]:
    for claims in results.study.claims.values():
        for claim in claims:
            for hypothesis in claim.tests:
                devices = _devices(hypothesis, results)
                if len(_names(devices)) > 1:
                    yield Spread(
                        claim.claim,
                        hypothesis.test,
                        where=_where(hypothesis, devices),
                        whole=finding(hypothesis, results),
                        alone=_by_device(hypothesis, results, devices),
                    )


def _devices(hypothesis: Hypothesis, results: Results) -> list[dict[ArmKey, str]]:
    """The device of every run by the samples of a test of searches; empty if runs are missing."""
    arms = [results.study.arm(name) for group in hypothesis.groups() for name in group]
    if not all(isinstance(arm, Arm) for arm in arms):
        return []
    runs = results.runs_for(hypothesis)
    samples = results.samples(hypothesis)
    if not all(runs.keys() >= set(sample) for sample in samples):
        return []
    return [{key: device(runs[key]) for key in sample} for sample in samples]


def _names(devices: Sequence[Mapping[ArmKey, str]]) -> set[str]:
    """Names of all devices in these samples."""
    return set().union(*(sample.values() for sample in devices))


def _where(hypothesis: Hypothesis, devices: Sequence[Mapping[ArmKey, str]]) -> str:
    told = []
    for group, sample in zip(hypothesis.groups(), devices, strict=True):
        counts = sorted(Counter(sample.values()).items())
        numbers = ", ".join(f"{count} {name}" for name, count in counts)
        told.append(f"{' + '.join(group)}: {numbers}")
    return "; ".join(told)


def _by_device(
    hypothesis: Hypothesis, results: Results, devices: Sequence[Mapping[ArmKey, str]]
) -> dict[str, Finding]:
    found = {}
    for name in sorted(_names(devices)):
        samples = [[key for key in sample if sample[key] == name] for sample in devices]
        if min(map(len, samples)) >= hypothesis.fewest:
            found[name] = finding(hypothesis, results, samples)
    return found


def _repeated(spread: Sequence[Spread]) -> str:
    """In words: how many of the tests pass again on one device."""
    spread = [test for test in spread if test.test != "described"]
    repeated = [test for test in spread if test.alone]
    passed = [test for test in repeated if test.whole.p < LEVEL]
    again = [test for test in passed if all(f.p < LEVEL for f in test.alone.values())]
    others = [test.claim for test in passed if test not in again]
    but = f" (not: {', '.join(dict.fromkeys(others))})" if others else ""
    told = (
        f"{len(spread)} tests of searches compare or pool several devices. {len(repeated)} can be"
        f" made again on one: {len(passed)} of these pass at 2.5 % on all runs, {len(again)} of"
        f" those {len(passed)} on each such device, too{but}."
    )
    assumed = [test.claim for test in spread if not test.alone and test.whole.p < LEVEL]
    if not assumed:
        return told
    claims = ", ".join(f"*{claim}*" for claim in dict.fromkeys(assumed))
    return (
        f"{told} Of the other {len(spread) - len(repeated)}, {len(assumed)} pass, which"
        f" counts if the device makes no difference: {claims}. That is why claims *on a CPU* were"
        " added, for most of them."
    )


def _alone(spread: Sequence[Spread]) -> str:
    rows = []
    for test in spread:
        cells = [f"{name}: {_told(found)}" for name, found in test.alone.items()]
        told = "; ".join(cells) or "none has enough"
        name = markdown.TEST_NAMES[test.test]
        rows.append([test.claim, name, test.where, _told(test.whole), told])
    return markdown.table(["claim", "test", "searches", "of all", "on one device"], rows)


def _told(found: Finding) -> str:
    p = markdown.p_value(found.p)
    if not p:
        return str(found)
    said = p if p.startswith("<") else f"= {p}"
    return f"{found}, p {said}"
