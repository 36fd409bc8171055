"""What became of every claim: its tests on the finished runs of its arms, Holm's correction, one of three outcomes.

A claim whose arms are not complete has no outcome, only a count: nobody looks at half an arm.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nasutils.measures.estimates import LEVEL, TESTS, Finding, holm
from nasutils.measures.searches import OF_NETWORKS, values
from nasutils.runs import BadRun, Run
from nasutils.studies.confirmation.plan import Hypothesis, PlannedClaim, Study, chosen_seeds, refusal

SUPPORTED, REFUTED, UNRESOLVED, DESCRIBED = "supported", "refuted or negligible", "unresolved", "described"


@dataclass(frozen=True)
class Outcome:
    """What became of a claim.

    findings: of its tests, empty while runs are missing. p: the largest of theirs; holm: corrected, of a primary claim
    (else nan). outcome: one of the four words, or how many of how many runs are there.
    """

    claim: PlannedClaim
    findings: tuple[Finding, ...]
    p: float
    holm: float
    outcome: str


class Results:
    """The finished runs of a part of the plan, and what was wrong with others.

    searches, networks: by arm and seed. refused: why a finished run does not count, by its folder.
    """

    def __init__(self, study: Study, searches: Mapping[tuple[str, int], Run], networks: Mapping[tuple[str, int], Run]):
        self.study = study
        self.refused: dict[str, str] = {}
        self.searches = {key: run for key, run in searches.items() if self._counts(run)}
        self.networks = {key: run for key, run in networks.items() if self._counts(run)}

    def _counts(self, run: Run) -> bool:
        try:
            finished = run.result is not None
        except BadRun as error:
            self.refused[run.path.name] = str(error)
            return False
        if finished and self.study.registered and (reason := refusal(run.stamp, self.study.registered)):
            self.refused[run.path.name] = reason
            return False
        return finished

    def runs_for(self, hypothesis: Hypothesis) -> Mapping[tuple[str, int], Run]:
        """Where the runs of a test are: searches, or final networks."""
        return self.networks if hypothesis.of in OF_NETWORKS else self.searches

    def samples(self, hypothesis: Hypothesis) -> list[list[tuple[str, int]]]:
        """Arm and seed of all runs that the samples of a test consist of, finished or not."""
        return [
            [(arm, seed) for arm in group for seed in chosen_seeds(hypothesis, self.study.arm(arm))]
            for group in hypothesis.groups()
        ]


def outcomes(study: Study, paper: str, results: Results) -> list[Outcome]:
    """Of the claims of a paper, in the plan's order."""
    claims = study.claims[paper]
    tested = [_findings(claim, results) for claim in claims]
    p = [math.nan if isinstance(found, str) else max(f.p for f in found) for found in tested]
    family = [i for i, claim in enumerate(claims) if claim.role == "primary"]
    # A claim that waits for its runs counts in the family like one that failed, so a corrected p never grows later.
    corrected = dict(zip(family, holm([1.0 if math.isnan(p[i]) else p[i] for i in family]), strict=True))
    return [
        Outcome(claim, (), math.nan, math.nan, found)
        if isinstance(found, str)
        else Outcome(claim, found, p[i], corrected.get(i, math.nan), _outcome(claim, found, corrected.get(i, p[i])))
        for i, (claim, found) in enumerate(zip(claims, tested, strict=True))
    ]


def _findings(claim: PlannedClaim, results: Results) -> tuple[Finding, ...] | str:
    """Of all tests of a claim; while runs are missing, how many there are."""
    there: set[Run] = set()
    missing: set[tuple[str, int]] = set()
    for hypothesis in claim.tests:
        runs = results.runs_for(hypothesis)
        keys = [key for sample in results.samples(hypothesis) for key in sample]
        there |= {runs[key] for key in keys if key in runs}
        missing |= {key for key in keys if key not in runs}
    if missing:
        return f"{len(there)} of {len(there) + len(missing)} runs"
    return tuple(
        finding(h, [[results.runs_for(h)[key] for key in sample] for sample in results.samples(h)]) for h in claim.tests
    )


def finding(hypothesis: Hypothesis, samples: Sequence[Sequence[Run]]) -> Finding:
    """A test on finished runs."""
    arms = [np.array([values(run, [hypothesis.of])[hypothesis.of] for run in sample]) for sample in samples]
    return TESTS[hypothesis.test](arms, hypothesis.above)


def _outcome(claim: PlannedClaim, found: Sequence[Finding], p: float) -> str:
    """One of the four words; p: of the claim, corrected if it is primary."""
    if all(h.test == "described" for h in claim.tests):
        return DESCRIBED
    if any(_refuted(h, f) for h, f in zip(claim.tests, found, strict=True)):
        return REFUTED
    return SUPPORTED if p < LEVEL else UNRESOLVED


def _refuted(hypothesis: Hypothesis, found: Finding) -> bool:
    """Whether the interval lies wholly below the smallest effect of interest, or wholly outside of an equivalence."""
    if hypothesis.interest is None:
        return hypothesis.test == "equivalent" and (found.low > hypothesis.above or found.high < -hypothesis.above)
    return found.high < hypothesis.interest
