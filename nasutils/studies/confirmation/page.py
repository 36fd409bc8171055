"""The page of results, figures/README.md: every claim, its pilot and its confirmation.
Written by `make results`.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown

from nasutils import paths
from nasutils.measures import comparisons
from nasutils.report import claims
from nasutils.report.gallery import readable
from nasutils.runs import Run
from nasutils.studies import lhd_architectures
from nasutils.studies.confirmation import figures, machines, markdown, outcomes, plan
from nasutils.studies.confirmation.campaign import Campaign
from nasutils.studies.confirmation.outcomes import (
    DESCRIBED,
    REFUTED,
    SUPPORTED,
    UNRESOLVED,
    ArmKey,
    Outcome,
    Results,
    ended,
    judged,
)
from nasutils.studies.confirmation.plan import Study
from nasutils.training.computation import Machine

TITLES = {
    "sparsification": "Small Temperature is All You Need for Differentiable Architecture Search",
    "bypass_leakage": (
        "Robustifying DARTS by Eliminating Information Bypass Leakage via Explicit Sparse"
        " Regularization"
    ),
    "lhd_benchmark": "Rethink DARTS Search Space and Renovate a New Benchmark",
    "lr_swap": "Delve into the Performance Degradation of Differentiable Architecture Search",
}
WAITS = "waiting for runs"
WORDS = [SUPPORTED, REFUTED, UNRESOLVED, DESCRIBED, WAITS]
PILOT_WORDS = ["supported", "not supported", "inconclusive"]
CLAIM_COLUMNS = ["claim", "outcome", "in words", "tested", "test"]
CLAIM_COLUMNS += ["confirmation", "p", "Holm", "pilot"]
HEAD = """# Results: every claim, pilot and confirmation

Written by `make results` from the runs in this folder; do not edit.

The **pilot** is what was looked at first: seeds 0 to 4, with tests chosen along the way (those of
LHD before any was judged; [what to know about it](../docs/pilot.md)). The **confirmation** is a
study of its own: its tests and seeds (5 and up) were fixed in
[params/confirmation.yaml](../params/confirmation.yaml) before its first run, and no claim is
judged before all runs of its arms (settings) are there. The study of LHD has a plan of [its
own](#lhd-benchmark): networks of the architectures that its paper released, trained anew. So have
the claims *on a CPU*: where arms lie on different [machines](#machines), one of them is computed
anew on the machine of the other, whose searches had been looked at. The searches are of laptop
scale, unless a claim says otherwise: CIFAR-10 at 16 x 16 pixels, 2,000 images for the weights and
as many for alpha, 8 channels, 2 cells a stage, 50 epochs; the accuracies of the cells are those of
NAS-Bench-201's table, networks of full size.

- *Supported*: all tests of the claim pass, one-sided at 2.5 %; primary claims (in bold) also after
  Holm's correction over their paper, of the largest p of each claim. A claim that waits counts
  like one that failed, so a corrected p of today can only get smaller.
- *Refuted or negligible*: the 95 % interval of one of its tests lies wholly below the smallest
  effect of interest (in the table: *of interest*); for an equality, wholly outside of it. A claim
  of which both holds counts as refuted.
- *Unresolved*: neither. *Described*: a number with its interval, and no test.
- Only *supported* is corrected for the number of claims; *refuted* rests on single intervals. p
  and interval of *many to one* (methods against one control) hold for all methods of a condition
  together. The intervals of AUCs, of differences of shares and of interactions are computed in
  another way than their tests, so an interval can hold the tested value although the test just
  passes.
- A *remark* says what an outcome does not say. Remarks were written after the runs, and change no
  outcome; what they say was asked of the runs.
- A claim that waits says how many of its runs are there.
- Sentences say in our words what the abstracts claim; *(ours)* marks what no paper says. Claims
  that ask what another one rests on (as *5b exponential, equal dose*) are ours, too.
- *AUC* of A and B: the probability that a search of A ends in a better cell than one of B, ties
  count half; 0.5 is no difference. Of two tests, numbers stand in the order of the sentence.
- In the pilot an interval beyond the threshold of its claim is *supported*, one wholly on the
  other side *not supported*, any other *inconclusive*; a claim with a caveat (in the notebook)
  cannot be supported. Its statistic is often another one, in other units; the notebook has it, and
  its threshold.

<a id="criteria"></a>
What each arm searches: [arms](#arms). The tables of all arms give medians with their intervals;
the shares of last cells *below the median* of all cells and *collapsed* (below 60 %); *beats
random*, the probability of being better than a cell drawn blindly (mean and Student's t); *best
minus last*, what a search loses from its best cell of any epoch to the last one; *late minus
early*, the cells of the last ten epochs minus those of epochs 5 to 14 (%, points).

The sizes of the searches were chosen so that DARTS degrades ([how](../docs/pilot.md)). That it
does here (*degradation*, *collapse*) tells how much and what goes with it, not that it would do so
elsewhere. The second proxy, of 2,500 images, asks for one other size, at which three searches of
DARTS had been seen to degrade; *full size* asks further.

The numbers of this page as a table: [outcomes.csv](outcomes.csv). Which run folder belongs to
which arm and seed: [registered_runs.csv](registered_runs.csv).
To recompute an outcome, or move its threshold: [question a verdict](../docs/verdicts.md).
"""

LHD = """\
Networks of released architectures, and of the control *Random*, are trained for 28 epochs on 2,000
images of CIFAR-10 at 16 x 16 pixels, with 8 channels and 4 cells, and tested on all 10,000 test
images: which tells what learns fast. (The random networks by which two spaces are compared, claims
1, 2 and 4, are others, trained on 640 images.) Under *base* a node keeps two operations, under
*3ops* three; *4out* keeps four nodes in each output of a cell, *base* those whose weights are
large. *1m* has the cells of *base*, five in place of four, with channels raised until there are
30,000 weights: then all networks have 30,000 to 40,000. A method is what the authors' code made of
it, with a budget of its own (tables 2 and 3 of the notebook), and has five searches on a data set.
*Reliability* is the share of the variance of their means, over nine methods with *Random* among
them, that is not noise of the searches; 0.8 is a convention, fixed beforehand.

There were two pilots. One is our own short searches. The other trained the released architectures
of CIFAR-10 once each (*released architectures* in the last column; its runs were not kept). The
confirmation trains the same architectures anew: on CIFAR-10 under *base* and *1m* new are the
seeds of the training and 15 of the 20 random networks, not the searches. So these outcomes tell
that the pilot was not noise of the training. Whether new searches are told apart as well, 5c asks;
whether they beat random draws, only 5n does, on CIFAR-100.
"""


def page(parts: Sequence[Results], found: Mapping[str, Sequence[Outcome]]) -> str:
    """The page as Markdown; parts: the finished runs of the plan's parts;
    found: the outcomes by paper.
    """
    sections = [HEAD, _calibration(), _counts(found)]
    for paper, of_paper in found.items():
        sections += [_paper(paper, of_paper), *_picture(paper)]
    sections += [_arms(parts, _last_cells()), machines.section(parts)]
    sections += dict.fromkeys(_deviations(results.study) for results in parts)
    return "\n".join(sections)


def _arms(parts: Sequence[Results], ends: Mapping[str, Sequence[str]]) -> str:
    """What the searches of each arm are, where they depart from the method's own settings, and
    what they end in, see `_last_cells`.
    """
    rows: dict[str, list[str]] = {}
    for results in parts:
        for arm in results.study.arms:
            if isinstance(arm, plan.Arm):
                end = ends.get(arm.name) or _without_cells(arm, results)
                rows.setdefault(arm.name, [arm.name, arm.setting, *_searched(arm), *end])
    head = ["arm", "setting", "method", "departs in", "n", "last cell", "beats random"]
    return (
        "## Arms\n\nWhat the searches of an arm are, and the test accuracy (%) of what they end"
        " in; sizes and epochs of a setting stand in [the plan](../params/confirmation.yaml).\n\n"
        + markdown.table(head, rows.values())
    )


def _without_cells(arm: plan.Arm, results: Results) -> list[str]:
    """What stands in the place of `_last_cells` for an arm that has none there."""
    done = sum((arm.name, seed) in results.searches for seed in arm.seeds())
    if done < len(arm.seeds()):
        return ["", WAITS, ""]
    first, *_ = arm.experiments(results.study.settings).values()
    tabulated = first.space == "nasbench201"
    return [str(done), "searches of the first part" if tabulated else "no table", ""]


def _last_cells() -> dict[str, list[str]]:
    """Of the arms that notebooks have drawn: number of searches, their last cells, and how these
    compare with random ones, see `figures.by_criterion`.
    """
    files = (paths.figures("laptop", paper) / "registered_arms.csv" for paper in TITLES)
    arms = pd.concat([pd.read_csv(file) for file in files if file.exists()])
    shown = readable(arms.drop_duplicates("arm"))
    columns = ["n", "last_cell", "beats_random"]
    return {row["arm"]: [str(row[c]) for c in columns] for _, row in shown.iterrows()}


def _searched(arm: plan.Arm) -> tuple[str, str]:
    """The method of an arm, and what departs from its own settings."""
    given = {**arm.search}
    method = given.pop("method")
    departs = {**given.pop("options", {}), **given.pop("recipe", {}), **given}
    departs.pop("negligible", None)  # changes no number, only what is computed
    return method, ", ".join(f"{name} {value}" for name, value in departs.items())


def _calibration() -> str:
    """What simulations say of the tests, in words."""
    table = pd.read_csv(paths.ROOT / "figures" / "calibration.csv")
    nulls = table[table["truth"] == table["above"]]
    loosest = nulls.loc[nulls["rejects (%)"].idxmax()]
    usual = table.drop(loosest.name)
    passes = usual.loc[usual["truth"] == usual["above"], "rejects (%)"]
    covers = usual["covers (%)"]
    worst = usual.loc[covers.idxmin()]
    return (
        f"Simulations ([calibration.csv](calibration.csv), {len(table)} cases): where the truth is"
        f" the tested value, a test should pass in at most 2.5 % of draws, and passes in"
        f" {passes.min():g} to {passes.max():g} %; elsewhere the file gives its power. Intervals"
        f" should hold the truth in 95 %: they do in {covers.min():g} to {covers.max():g} %, least"
        f" in *{markdown.TEST_NAMES[worst['test']]}* at a truth of {worst['truth']:g}"
        f" ({worst['values']}). One case is left out of these numbers:"
        f" *{markdown.TEST_NAMES[loosest['test']]}* of {loosest['values']}, as in *3c"
        f" competitive*, passes in {loosest['rejects (%)']:g} %, and its interval holds the"
        f" truth in {loosest['covers (%)']:g} %: where few searches collapse, a mean tells"
        " little.\n"
    )


def _deviations(study: Study) -> str:
    papers = ", ".join(study.claims)
    if study.registered is None:
        return (
            f"## A plan that is not registered yet ({papers})\n\nNothing of it is computed before"
            " that.\n"
        )
    lines = [f"- {text}" for text in study.deviations] or ["None."]
    heading = f"## Deviations from the plan registered as `{study.registered}` ({papers})"
    return "\n".join([heading, "", *lines, ""])


def write() -> None:
    """Write figures/README.md, the tables of runs and of outcomes beside it, and the counts in
    README.md from the committed runs.
    """
    for file, text in current().items():
        file.write_text(text)


def current() -> dict[Path, str]:
    """What `write` writes, by file."""
    parts = [committed(study) for study in plan.read().values()]
    papers = dict.fromkeys(paper for results in parts for paper in results.study.claims)
    found = {paper: ended(paper, parts) for paper in papers}
    readme, folder = paths.ROOT / "README.md", paths.ROOT / "figures"
    return {
        folder / "README.md": page(parts, found),
        folder / "registered_runs.csv": machines.run_table(parts).to_csv(index=False),
        folder / "outcomes.csv": outcomes.table(found).to_csv(index=False, float_format="%.4g"),
        readme: counted(readme.read_text(), found),
    }


def committed(study: Study) -> Results:
    """The finished runs of the plan that lie in figures/."""
    searches: dict[ArmKey, Run] = {}
    networks: dict[ArmKey, Run] = {}
    for scale in ("laptop", "paper"):
        campaign = Campaign(study, Machine(paths.runs(scale)), scale)
        found = campaign.found()
        searches |= found.searches
        networks |= found.networks
    return Results(study, searches, networks)


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
) -> Markdown:
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
    tests = []
    for hypothesis, finding in zip(claim.tests, outcome.findings, strict=True):
        test = f" ({markdown.TEST_NAMES[hypothesis.test]})"
        if hypothesis.test == "described":
            test = ""
        tests.append(f"{finding}{test}")
    return f"{start}: {' and '.join(tests)}; **{outcome.outcome}**.{_remark(outcome)}"


def _remark(outcome: Outcome) -> str:
    return f" *Remark:* {outcome.remark}" if outcome.remark else ""


def section(paper: str, found: Sequence[Outcome]) -> str:
    """What the page says of one paper below its heading, as Markdown; its notebook shows it."""
    pilot = pilot_verdicts(paper)
    rows = [row for outcome in found for row in _rows(outcome, pilot)]
    setting = [LHD] if paper == "lhd_benchmark" else []
    table = markdown.table(CLAIM_COLUMNS, rows)
    return "\n".join([*setting, *_learned(found), "", table, *_unconfirmed(pilot, found)])


def counted(text: str, found: Mapping[str, Sequence[Outcome]]) -> str:
    """The README's text with the counts of today between its marks `<!-- counts:
    PAPER -->` and `<!-- end -->`.
    """

    def filled(mark: re.Match[str]) -> str:
        return f"{mark[1]}{_in_words(mark[2], found.get(mark[2], ()))}{mark[3]}"

    return re.sub(r"(<!-- counts: (\w+) -->).*?(<!-- end -->)", filled, text)


def _in_words(paper: str, found: Sequence[Outcome]) -> str:
    """Registered study, where there is one, and pilot: how many claims came to what."""
    again = sum(o.outcome == SUPPORTED and o.claim.claim.endswith(", on a CPU") for o in found)
    notes = {SUPPORTED: f" ({again} of them again, on a CPU)"} if again else {}
    now = _numbers(_outcomes(found), WORDS, notes)
    pilot = _numbers(Counter(pilot_verdicts(paper)["verdict"]), PILOT_WORDS)
    return "; ".join(filter(None, [now, f"pilot: {pilot}"]))


def _outcomes(found: Sequence[Outcome]) -> Counter[str]:
    """How many claims came to which outcome; those without one are waiting."""
    return Counter(outcome.outcome if outcome.findings else WAITS for outcome in found)


def _numbers(
    count: Mapping[str, int], words: Sequence[str], notes: Mapping[str, str] | None = None
) -> str:
    """How many of each word, but for those of which there is none; notes: what follows a word."""
    notes = notes or {}
    return ", ".join(f"{count[word]} {word}{notes.get(word, '')}" for word in words if count[word])


def _counts(found: Mapping[str, Sequence[Outcome]]) -> str:
    rows = []
    for paper, of_paper in found.items():
        title = f"[{TITLES[paper]}](#{_anchor(paper)})"
        pilot = Counter(pilot_verdicts(paper)["verdict"])
        before = ", ".join(f"{pilot[word]} {word}" for word in PILOT_WORDS)
        count = _outcomes(of_paper)
        rows.append([title, before, *(str(count[word]) for word in WORDS)])
    return markdown.table(["paper", "pilot", *WORDS], rows)


def _anchor(paper: str) -> str:
    """What a link within the page leads to."""
    return paper.replace("_", "-")


def _paper(paper: str, found: Sequence[Outcome]) -> str:
    """The section of a paper under its heading, with a place for links to lead to."""
    anchor = f'<a id="{_anchor(paper)}"></a>'
    return "\n".join([f"## {TITLES[paper]}", "", anchor, "", section(paper, found)])


def _unconfirmed(pilot: pd.DataFrame, found: Sequence[Outcome]) -> list[str]:
    """The claims of the pilot that no claim of the plan takes up."""
    confirmed = {name for outcome in found for name in outcome.claim.pilot}
    rows = pilot[~pilot.index.isin(confirmed)]
    if rows.empty:
        return []
    lines = []
    for name, row in rows.iterrows():
        lines.append(f"- {name}: {row['statistic']}: {_before(pilot, str(name))}")
    return ["", "Of the pilot alone, without a registered test:", "", *lines, ""]


def _picture(paper: str) -> list[str]:
    """The registered searches as the paper's notebook has drawn them, if it has."""
    folder = paths.figures("laptop", paper)
    if not (folder / "registered.png").exists():
        return []
    arms = pd.read_csv(folder / "registered_arms.csv")
    shown = readable(arms).astype(str)
    where = (folder / "registered.png").relative_to(paths.ROOT / "figures").as_posix()
    return [
        f"![The last cell of every search]({where})\n",
        f"*The registered searches.* {figures.reading(arms)} Every arm by every criterion"
        " ([what they are](#criteria)), described, not tested; some lie on several"
        " [machines](#machines):\n",
        markdown.table([column.replace("_", " ") for column in shown], shown.to_numpy().tolist()),
    ]


def _released_pilot(claim: plan.PlannedClaim) -> list[str]:
    """What the test of a claim says of the pilot that trained released architectures, if that has
    trained those of the claim's arm.
    """
    test = claim.tests[0]
    policies = [p for p, arm in lhd_architectures.ARM_OF_POLICY.items() if arm in test.arms]
    if not policies or test.test not in ("reliability", "over_control"):
        return []
    by_method = lhd_architectures.pilot_by_method()[policies[0]]
    if test.method not in (None, *by_method):
        return []
    values = comparisons.once(np.stack(list(by_method.values())))
    return [f"released architectures: {judged(test, [values], [*by_method])}"]


def _rows(outcome: Outcome, pilot: pd.DataFrame) -> Iterator[list[str]]:
    """A row per test of a claim; what concerns the whole claim stands in the first."""
    claim = outcome.claim
    for i, hypothesis in enumerate(claim.tests):
        result = str(outcome.findings[i]) if outcome.findings else ""
        p = markdown.p_value(outcome.findings[i].p) if outcome.findings else ""
        test = markdown.TEST_NAMES[hypothesis.test]
        if i:
            yield ["", "", "", "", test, result, p, "", ""]
            continue
        name = f"**{claim.claim}**" if claim.role == "primary" else claim.claim
        earlier = _released_pilot(claim) + [_before(pilot, name) for name in claim.pilot]
        said = [name, outcome.outcome, claim.sentence, _tested(claim), test]
        yield [*said, result, p, markdown.p_value(outcome.holm), "; ".join(earlier)]


def _tested(claim: plan.PlannedClaim) -> str:
    """What is tested, and from where on it is of interest."""
    interests = [f"{h.interest:.3g}" for h in claim.tests if h.interest is not None]
    if not interests:
        return claim.statistic
    return f"{claim.statistic} (of interest: {', '.join(interests)})"


def _before(pilot: pd.DataFrame, name: str) -> str:
    row = pilot.loc[name]
    return (
        f"{row['mean']:.3g} [{row['low']:.3g}, {row['high']:.3g}], n = {row['n']}:"
        f" {row['verdict']}"
    )


def _learned(found: Sequence[Outcome]) -> list[str]:
    """In words: what the claims that have an outcome came to."""
    lines = []
    for word in (SUPPORTED, REFUTED, UNRESOLVED):
        for o in found:
            if o.findings and o.outcome == word:
                tested = f"{o.claim.statistic}: {'; '.join(map(str, o.findings))}"
                told = f"{o.claim.sentence} ({tested}){_remark(o)}"
                lines.append(f"- *{word}*, {o.claim.claim}: {told}")
    if lines:
        lines.append("")  # ends the list
    waiting = sum(not o.findings for o in found)
    if not waiting:
        return [*lines, "All claims have an outcome."]
    return [*lines, f"{waiting} of {len(found)} claims wait for runs."]


def pilot_verdicts(paper: str) -> pd.DataFrame:
    """The verdicts of the first study at laptop scale, by claim."""
    return pd.read_csv(paths.figures("laptop", paper) / "verdicts.csv").set_index("claim")
