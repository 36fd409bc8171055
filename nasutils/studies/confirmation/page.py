"""The page of results, figures/README.md: every claim, its pilot and its confirmation.
Written by `make results`.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd
from scipy import stats

from nasutils import paths
from nasutils.measures import comparisons
from nasutils.measures.searches import accuracy
from nasutils.report import claims
from nasutils.runs import Run
from nasutils.studies.confirmation import figures, plan
from nasutils.studies.confirmation.campaign import Campaign
from nasutils.studies.confirmation.outcomes import (
    DESCRIBED,
    REFUTED,
    SUPPORTED,
    UNRESOLVED,
    Outcome,
    Results,
    outcomes,
)
from nasutils.studies.confirmation.plan import Study
from nasutils.studies.lhd_benchmark import architectures
from nasutils.training.experiment import Machine

if TYPE_CHECKING:
    from IPython.display import Markdown

TITLES = {
    "sparsification": "Small Temperature is All You Need for DARTS",
    "bypass_leakage": "Robustifying DARTS by Eliminating Information Bypass Leakage",
    "lhd_benchmark": "Rethink DARTS Search Space and Renovate a New Benchmark",
    "lr_swap": "Delve into the Performance Degradation of DARTS",
}
TEST_NAMES = {
    "share": "exact binomial",
    "median": "sign",
    "described": "none",
    "centre": "Wilcoxon",
    "mean": "t",
    "correlation": "t of Fisher's z",
    "share_difference": "Boschloo",
    "auc": "Brunner-Munzel",
    "difference": "Welch",
    "correlation_difference": "Welch of Fisher's z",
    "paired": "Wilcoxon, paired",
    "equivalent": "two one-sided t",
    "reliability": "noncentral F",
    "over_control": "many to one, a variance for the control",
    "difference_within": "Welch, given the method",
    "interaction_within": "F, permuted within searches",
    "interaction_between": "F, permuted within methods",
    "rank_correlation": "Fisher's z of ranks",
    "correlation_within": "Fisher's z of ranks, given the method",
    "log_deviation_ratio": "t of jackknives",
    "repeatability_difference": "t of jackknives",
}
WAITS = "waiting for runs"
WORDS = [SUPPORTED, REFUTED, UNRESOLVED, DESCRIBED, WAITS]
PILOT_WORDS = ["supported", "not supported", "inconclusive"]
HEAD = """# Results: every claim, pilot and confirmation

Written by `make results` from the runs in this folder; do not edit.

The **pilot** is what was looked at first: seeds 0 to 4, with tests chosen along the way ([what to
know about it](../docs/pilot.md)). The **confirmation** is a study of its own: its tests and seeds
(5 and up) were fixed in [params/confirmation.yaml](../params/confirmation.yaml) before its first
run, and no claim is judged before all runs of its arms are there. The study of LHD has a plan of
its own: networks of the architectures that its paper released, trained anew. Laptop scale
throughout, unless a claim says otherwise: CIFAR-10 at 16 x 16 pixels, 2,000 images for the weights
and as many for alpha, 8 channels, 2 cells a stage, 50 epochs; the accuracies of the cells are
those of NAS-Bench-201's table, networks of full size.

- *Supported*: all tests of the claim pass, one-sided at 2.5 %, primary claims (in bold) by Holm's
  correction over their paper.
- *Refuted or negligible*: the 95 % interval of one of its tests lies wholly below the smallest
  effect of interest, which stands behind what is tested.
- *Unresolved*: neither. *Described*: a number with its interval, and no test.
- A claim that waits says how many of its runs are there.
- In the pilot an interval beyond the threshold of its claim is *supported*, one wholly on the
  other side *not supported*, any other *inconclusive*. Its statistic is often another one, in
  other units; the notebook has it, and its threshold.

Which run folder belongs to which arm and seed: [registered_runs.csv](registered_runs.csv).
How often each test errs where nothing is to be found: [calibration.csv](calibration.csv).
"""
MACHINES = """\
Another machine rounds sums differently, which makes of a seed another search of the same kind: an
arm may be computed on several. Where processor seconds are compared, both arms ran on the same
processor, by turns."""

DEVICES = """\
Complete arms that were computed on several devices: the median of the last cell's test accuracy
on each, and p of Brunner and Munzel's test, two-sided (from five searches on each; not registered,
not corrected)."""
FEWEST = 5


def page(parts: Sequence[Results], found: Mapping[str, Sequence[Outcome]]) -> str:
    """The page as Markdown; parts: the finished runs of the plan's parts;
    found: the outcomes by paper.
    """
    sections = [HEAD, _counts(found)]
    for paper, of_paper in found.items():
        sections += [_paper(paper, of_paper), *_picture(paper)]
    sections += [_pilot_only(paper) for paper in TITLES if paper not in found]
    sections += [_machines(parts), *dict.fromkeys(_deviations(r.study) for r in parts)]
    return "\n".join(sections)


def _deviations(study: Study) -> str:
    papers = ", ".join(study.claims)
    if study.registered is None:
        return (
            f"## A plan that is not registered yet ({papers})\n\nNothing of it is computed before"
            " that.\n"
        )
    lines = [f"- {text}" for text in study.deviations] or ["None."]
    return "\n".join(
        [
            f"## Deviations from the plan registered as `{study.registered}` ({papers})",
            "",
            *lines,
            "",
        ]
    )


def write() -> None:
    """Write figures/README.md, the table of runs beside it, and the counts in README.md from the
    committed runs.
    """
    for file, text in current().items():
        file.write_text(text)


def current() -> dict[Path, str]:
    """What `write` writes, by file."""
    parts = [committed(study) for study in plan.read().values()]
    papers = dict.fromkeys(paper for results in parts for paper in results.study.claims)
    found = {paper: ended(paper, parts) for paper in papers}
    readme = paths.ROOT / "README.md"
    return {
        paths.ROOT / "figures" / "README.md": page(parts, found),
        paths.ROOT / "figures" / "registered_runs.csv": run_table(parts).to_csv(index=False),
        readme: counted(readme.read_text(), found),
    }


def ended(paper: str, parts: Sequence[Results]) -> list[Outcome]:
    """The outcomes of a paper's claims in these parts of the plan, in its order;
    each part corrects its primary claims by itself.
    """
    return [
        o
        for part in parts
        if paper in part.study.claims
        for o in outcomes(part.study, paper, part)
    ]


def committed(study: Study) -> Results:
    """The finished runs of the plan that lie in figures/."""
    laptop, paper = (
        Campaign(study, Machine(paths.runs(scale)), scale).results()
        for scale in ("laptop", "paper")
    )
    return Results(study, laptop.searches | paper.searches, laptop.networks | paper.networks)


def parts_of(paper: str) -> list[Results]:
    """What is finished and committed of the parts of the plan that test a paper's claims."""
    return [committed(study) for study in plan.read().values() if paper in study.claims]


# What a notebook shows of them


def state(found: Sequence[Outcome]) -> str:
    """How far the registered study of a paper is, as Markdown: its primary claims by outcome."""
    primary = [o for o in found if o.claim.role == "primary"]
    return f"**Registered study**, primary claims: {counts(primary)}."


def counts(found: Sequence[Outcome]) -> str:
    """How many claims came to what, in words."""
    return _numbers(_outcomes(found), WORDS)


def told(
    found: Sequence[Outcome],
    measured: Sequence[claims.Claim],
    results: Any,
    scale: str,
    *names: str,
) -> "Markdown":
    """Claims of a notebook's own run, see `report.claims.told`,
    each under what the registered study says of it.
    """
    sentences = {claim.name: claim.sentence for claim in measured}
    beside = defaultdict(list)
    for outcome in found:
        for name in outcome.claim.pilot:
            beside[name].append(line(outcome, beneath=sentences[name]))
    return claims.told(measured, results, scale, *names, registered=beside)


def line(outcome: Outcome, beneath: str = "") -> str:
    """An outcome in a line; beneath: the sentence under which it stands, not said twice.

    While runs are missing it says no more than that, so a notebook changes only with an outcome.
    """
    claim = outcome.claim
    said = f"*{claim.sentence}* " if claim.sentence != beneath else ""
    start = f"*Registered study, {claim.claim}:* {said}{claim.statistic}"
    if not outcome.findings:
        return f"{start}: {WAITS}."
    tests = [
        str(finding)
        if hypothesis.test == "described"
        else f"{finding} ({TEST_NAMES[hypothesis.test]})"
        for hypothesis, finding in zip(claim.tests, outcome.findings, strict=True)
    ]
    return f"{start}: {' and '.join(tests)}; **{outcome.outcome}**."


def section(paper: str, found: Sequence[Outcome]) -> str:
    """What the page says of one paper, as Markdown for its notebook: without the heading."""
    _, _, text = _paper(paper, found).partition("</a>\n\n")
    return text


def counted(text: str, found: Mapping[str, Sequence[Outcome]]) -> str:
    """The README's text with the counts of today between its marks `<!-- counts:
    PAPER -->` and `<!-- end -->`.
    """

    def filled(mark: re.Match[str]) -> str:
        return f"{mark[1]}{_in_words(mark[2], found.get(mark[2], ()))}{mark[3]}"

    return re.sub(r"(<!-- counts: (\w+) -->).*?(<!-- end -->)", filled, text)


def _in_words(paper: str, found: Sequence[Outcome]) -> str:
    """Registered study, where there is one, and pilot: how many claims came to what."""
    now = f"{counts(found)}; " if found else ""
    pilot = Counter(pilot_verdicts(paper)["verdict"])
    return f"{now}pilot: {_numbers(pilot, PILOT_WORDS)}"


def _outcomes(found: Sequence[Outcome]) -> Counter[str]:
    return Counter(outcome.outcome if outcome.findings else WAITS for outcome in found)


def _numbers(count: Mapping[str, int], words: Sequence[str]) -> str:
    return ", ".join(f"{count[word]} {word}" for word in words if count[word])


def _counts(found: Mapping[str, Sequence[Outcome]]) -> str:
    rows = []
    for paper, of_paper in found.items():
        count = _outcomes(of_paper)
        pilot = Counter(pilot_verdicts(paper)["verdict"])
        before = ", ".join(f"{pilot[word]} {word}" for word in PILOT_WORDS)
        rows.append(
            [
                f"[{TITLES[paper]}](#{paper.replace('_', '-')})",
                before,
                *(str(count[word]) for word in WORDS),
            ]
        )
    return _markdown_table(["paper", "pilot", *WORDS], rows)


def _paper(paper: str, found: Sequence[Outcome]) -> str:
    pilot = pilot_verdicts(paper)
    head = [
        "claim",
        "the paper says",
        "tested",
        "test",
        "pilot",
        "confirmation",
        "p",
        "Holm",
        "outcome",
    ]
    rows = [row for outcome in found for row in _rows(outcome, pilot)]
    anchor = f'<a id="{paper.replace("_", "-")}"></a>'
    text = [
        *_learned(found),
        "",
        *_RELEASED_PILOT.get(paper, lambda: [])(),
        _markdown_table(head, rows),
        *_unconfirmed(pilot, found),
    ]
    return "\n".join([f"## {TITLES[paper]}", "", anchor, "", *text])


def _unconfirmed(pilot: pd.DataFrame, found: Sequence[Outcome]) -> list[str]:
    """The claims of the pilot that no claim of the plan takes up."""
    confirmed = {name for outcome in found for name in outcome.claim.pilot}
    rows = pilot[~pilot.index.isin(confirmed)]
    lines = [
        f"- {name}: {row['statistic']}: {_before(pilot, str(name))}"
        for name, row in rows.iterrows()
    ]
    return ["", "Of the pilot alone, without a registered test:", "", *lines, ""] if lines else []


def _picture(paper: str) -> list[str]:
    """The registered searches as the paper's notebook has drawn them, if it has."""
    folder = paths.figures("laptop", paper)
    if not (folder / "registered.png").exists():
        return []
    told = figures.reading(pd.read_csv(folder / "registered.csv"))
    where = (folder / "registered.png").relative_to(paths.ROOT / "figures").as_posix()
    return [f"![The last cell of every search]({where})\n\n*The registered searches.* {told}\n"]


def _released_pilot() -> list[str]:
    """What the pilot of the released LHD architectures said, in words."""
    lines = [
        (
            "There were two pilots. That of the table below is our own short searches. The other"
            " trained released architectures, once each (CIFAR-10; its runs were not kept, and are"
            " not part of the confirmation):"
        ),
        "",
    ]
    for policy, values in architectures.pilot().items():
        best = comparisons.over_control([values[..., None]], 0.0)
        text = (
            f"- {policy}, {len(values)} methods: the best over Random by {best} points (p ="
            f" {best.p:.2g})"
        )
        reliable = comparisons.reliability([values[..., None]], 0.8)
        lines.append(f"{text}; reliability of a method's mean of five {reliable}.")
    return [*lines, ""]


_RELEASED_PILOT = {"lhd_benchmark": _released_pilot}
"""More than its verdicts that a paper's pilot consists of."""


def _pilot_only(paper: str) -> str:
    """The claims of a paper that has no confirmation yet."""
    pilot = pilot_verdicts(paper)
    rows = [
        [name, str(row["statistic"]), _before(pilot, str(name))] for name, row in pilot.iterrows()
    ]
    head = ["claim", "tested", "pilot"]
    return "\n".join(
        [
            f"## {TITLES[paper]}",
            "",
            "No confirmation is planned yet.",
            "",
            _markdown_table(head, rows),
        ]
    )


def _machines(parts: Sequence[Results]) -> str:
    """On what the runs were computed, as Markdown: a row per machine and software."""
    computed: dict[str, Counter[str]] = defaultdict(Counter)
    for results in parts:
        for (arm, _), run in (*results.searches.items(), *results.networks.items()):
            computed[_machine(run.stamp)][arm] += 1
    rows = [
        [machine, str(arms.total()), ", ".join(f"{arm} ({count})" for arm, count in arms.items())]
        for machine, arms in sorted(computed.items())
    ]
    several = list(_by_device(parts))
    beside = ["", DEVICES, "", _markdown_table(["arm", "by device", "p"], several)]
    table = _markdown_table(["machine", "runs", "of them"], rows)
    return "\n".join(["## Machines", "", MACHINES, "", table, *(beside if several else [])])


def run_table(parts: Sequence[Results]) -> pd.DataFrame:
    """A row per run that counts: the plan's commit, the arm, the seed or network, the run folder
    (in figures/<scale>/runs) and the machine.
    """
    rows = [
        (results.study.registered, arm, str(which), run.path.name, _machine(run.stamp))
        for results in parts
        for (arm, which), run in (*results.searches.items(), *results.networks.items())
    ]
    columns = ["registered", "arm", "which", "run", "machine"]
    return pd.DataFrame(rows, columns=columns).drop_duplicates("run")


def _by_device(parts: Sequence[Results]) -> Iterator[list[str]]:
    """A row per complete arm that was computed on several devices: its last cells on each."""
    for results in parts:
        papers = results.study.claims
        arms = {arm.name: arm for paper in papers for arm in figures.complete(results, paper)}
        for arm in arms.values():
            on: dict[str, list[Run]] = defaultdict(list)
            for seed in arm.seeds():
                run = results.searches[arm.name, seed]
                on[run.stamp["device"]].append(run)
            if len(on) > 1:
                yield [arm.name, *_compared(on)]


def _compared(on: Mapping[str, Sequence[Run]]) -> tuple[str, str]:
    """Medians of the last cells of searches by their device, and p."""
    values = {name: [accuracy(run.records) for run in on[name]] for name in sorted(on)}
    told = [f"{name} ({len(v)}): {median(v):.1f} %" for name, v in values.items()]
    return "; ".join(told), _differs(*values.values())


def _differs(*samples: Sequence[float]) -> str:
    """p of Brunner and Munzel's test, two-sided; empty for more than two, or few values."""
    if len(samples) != 2 or min(map(len, samples)) < FEWEST:
        return ""
    return _p(float(stats.brunnermunzel(*samples).pvalue))


def _machine(stamp: Mapping[str, Any]) -> str:
    """What of a run's machine decides on its last bits."""
    if stamp["type"] == "cpu":
        arithmetic = stamp["instructions"]
    else:
        arithmetic = "convolutions in TF32" if stamp["tf32"] else "float32"
    return f"{stamp['device']}, {arithmetic}, PyTorch {stamp['torch']}"


def _rows(outcome: Outcome, pilot: pd.DataFrame) -> Iterator[list[str]]:
    """A row per test of a claim; what concerns the whole claim stands in the first."""
    claim = outcome.claim
    for i, hypothesis in enumerate(claim.tests):
        result = str(outcome.findings[i]) if outcome.findings else ""
        test = TEST_NAMES[hypothesis.test]
        if i:
            yield ["", "", "", test, "", result, "", "", ""]
            continue
        name = f"**{claim.claim}**" if claim.role == "primary" else claim.claim
        before = "; ".join(_before(pilot, earlier) for earlier in claim.pilot)
        said = [name, claim.sentence, _tested(claim), test, before, result]
        yield [*said, _p(outcome.p), _p(outcome.holm), outcome.outcome]


def _tested(claim: plan.PlannedClaim) -> str:
    """What is tested, and from where on it is of interest."""
    interests = [f"{h.interest:g}" for h in claim.tests if h.interest is not None]
    return (
        f"{claim.statistic} (of interest: {', '.join(interests)})"
        if interests
        else claim.statistic
    )


def _before(pilot: pd.DataFrame, name: str) -> str:
    row = pilot.loc[name]
    return (
        f"{row['mean']:.3g} [{row['low']:.3g}, {row['high']:.3g}], n = {row['n']}:"
        f" {row['verdict']}"
    )


def _p(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.2g}" if value >= 1e-4 else "< 0.0001"


def _learned(found: Sequence[Outcome]) -> list[str]:
    """In words: what the claims that have an outcome came to."""
    lines = []
    for word in (SUPPORTED, REFUTED, UNRESOLVED):
        judged = [o for o in found if o.findings and o.outcome == word]
        lines += [
            f"- *{word}*: {o.claim.sentence} ({o.claim.statistic}: {o.findings[0]})"
            for o in judged
        ]
    if lines:
        lines.append("")  # ends the list
    waiting = sum(not o.findings for o in found)
    some = f"{waiting} of {len(found)} claims wait for runs."
    return [*lines, some if waiting else "All claims have an outcome."]


def pilot_verdicts(paper: str) -> pd.DataFrame:
    """The verdicts of the first study at laptop scale, by claim."""
    return pd.read_csv(paths.figures("laptop", paper) / "verdicts.csv").set_index("claim")


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return (
        "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
        + "\n"
    )
