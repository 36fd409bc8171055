"""What became of every claim: its tests on the finished runs of its arms, Holm's correction,
one of three outcomes.

A claim whose arms are not complete has no outcome, only a count: nobody looks at half an arm.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest
from typing import Any

import numpy as np
import pandas as pd

from nasutils.measures import comparisons
from nasutils.measures.estimates import LEVEL, Finding, holm
from nasutils.measures.searches import OF_NETWORKS, values
from nasutils.runs import BadRun, Run
from nasutils.studies import lhd_architectures
from nasutils.studies.confirmation.plan import (
    TESTS,
    Hypothesis,
    Networks,
    PlannedClaim,
    Released,
    Study,
    chosen,
    refusal,
)

ArmKey = tuple[str, Any]
"""Arm, and what tells its runs apart: the seed of a search, cell and seed of a network."""
SUPPORTED = "supported"
REFUTED = "refuted or negligible"
UNRESOLVED = "unresolved"
DESCRIBED = "described"


@dataclass(frozen=True)
class Outcome:
    """What became of a claim.

    findings: of its tests, empty while runs are missing. p: the largest of theirs; holm:
    corrected, of a primary claim (else nan). outcome: one of the four words, or how many of how
    many runs are there. remark: what it does not say, see `Study`.
    """

    claim: PlannedClaim
    findings: tuple[Finding, ...]
    p: float
    holm: float
    outcome: str
    remark: str = ""


class Results:
    """The finished runs of a part of the plan, and what was wrong with others.

    searches, networks: by `ArmKey`. refused: why a finished run does not count, by its folder.
    """

    def __init__(
        self, study: Study, searches: Mapping[ArmKey, Run], networks: Mapping[ArmKey, Run]
    ):
        self.study = study
        self.refused: dict[str, str] = {}
        self.searches = {key: run for key, run in searches.items() if self._counts(key, run)}
        # The network of a search has its key: where the search does not count, nor does its cell.
        of_refused = searches.keys() - self.searches.keys()
        own = {key: run for key, run in networks.items() if key not in of_refused}
        self.networks = {key: run for key, run in own.items() if self._counts(key, run)}
        self._measured: dict[tuple[ArmKey, str], float] = {}

    def _counts(self, key: ArmKey, run: Run) -> bool:
        try:
            finished = run.result is not None
        except BadRun as error:
            self.refused[run.path.name] = str(error)
            return False
        registered = self.study.registered_by(key[0])
        if finished and registered:
            reason = refusal(run.stamp, registered)
            if reason:
                self.refused[run.path.name] = reason
                return False
        return finished

    def runs_for(self, hypothesis: Hypothesis) -> Mapping[ArmKey, Run]:
        """Where the runs of a test are: searches, or final networks."""
        return self.networks if hypothesis.of in OF_NETWORKS else self.searches

    def measured(self, hypothesis: Hypothesis, key: ArmKey) -> float:
        """What a test takes of a run.

        All that the plan's tests take of it is measured at the first: its records are read once.
        """
        known = key, hypothesis.of
        if known not in self._measured:
            run = self.runs_for(hypothesis)[key]
            names = self._wanted[hypothesis.of in OF_NETWORKS, key] | {hypothesis.of}
            for name, value in values(run, sorted(names)).items():
                self._measured[key, name] = value
        return self._measured[known]

    @cached_property
    def _wanted(self) -> Mapping[tuple[bool, ArmKey], set[str]]:
        """What the plan's tests measure of each run: of networks (True) and searches, by key."""
        wanted: dict[tuple[bool, ArmKey], set[str]] = defaultdict(set)
        for claims in self.study.claims.values():
            for hypothesis in chain.from_iterable(claim.tests for claim in claims):
                for key in chain.from_iterable(self.samples(hypothesis)):
                    wanted[hypothesis.of in OF_NETWORKS, key].add(hypothesis.of)
        return wanted

    def samples(self, hypothesis: Hypothesis) -> list[list[ArmKey]]:
        """The keys of all runs that the samples of a test consist of, finished or not."""
        found = []
        for group in hypothesis.groups():
            sample: list[ArmKey] = []
            for arm in group:
                sample += [(arm, which) for which in chosen(hypothesis, self.study.arm(arm))]
            found.append(sample)
        return found


def ended(paper: str, parts: Sequence[Results]) -> list[Outcome]:
    """The outcomes of a paper's claims in these parts of the plan, in its order; the primary ones
    of all parts are corrected together.
    """
    asked = [(part, claim) for part in parts for claim in part.study.claims.get(paper, ())]
    tested = [_findings(claim, part) for part, claim in asked]
    # nan if one of them could not be made
    p = [float(np.max([f.p for f in findings])) if findings else math.nan for findings in tested]
    corrected = _corrected([claim for _, claim in asked], p)
    found = []
    for i, ((part, claim), findings) in enumerate(zip(asked, tested, strict=True)):
        if findings:
            outcome = _outcome(claim, findings, p[i] if math.isnan(corrected[i]) else corrected[i])
        else:
            outcome = _count(claim, part)
        remark = part.study.remark(paper, claim.claim) if findings else ""
        found.append(Outcome(claim, findings, p[i], corrected[i], outcome, remark))
    return found


def _corrected(claims: Sequence[PlannedClaim], p: Sequence[float]) -> list[float]:
    """Holm's p of the primary claims; nan of others, and while runs are missing.

    A claim that waits for its runs counts in the family like one that failed, so a corrected p
    never grows later.
    """
    family = [i for i, claim in enumerate(claims) if claim.role == "primary"]
    known = [1.0 if math.isnan(p[i]) else p[i] for i in family]
    corrected = [math.nan] * len(claims)
    for i, value in zip(family, holm(known), strict=True):
        if not math.isnan(p[i]):
            corrected[i] = value
    return corrected


def _findings(claim: PlannedClaim, results: Results) -> tuple[Finding, ...]:
    """Findings of all tests of a claim; none while runs are missing."""
    _, missing = _runs(claim, results)
    if missing:
        return ()
    return tuple(finding(hypothesis, results) for hypothesis in claim.tests)


def _count(claim: PlannedClaim, results: Results) -> str:
    """How many runs of a claim are there, in words."""
    there, missing = _runs(claim, results)
    return f"{len(there)} of {len(there) + len(missing)} runs"


def _runs(claim: PlannedClaim, results: Results) -> tuple[set[Run], set[ArmKey]]:
    """The finished runs that a claim rests on, and the keys of those that are missing."""
    there: set[Run] = set()
    missing: set[ArmKey] = set()
    for hypothesis in claim.tests:
        runs = results.runs_for(hypothesis)
        for sample in results.samples(hypothesis):
            there |= {runs[key] for key in sample if key in runs}
            missing |= {key for key in sample if key not in runs}
    return there, missing


def finding(
    hypothesis: Hypothesis, results: Results, samples: Sequence[Sequence[ArmKey]] | None = None
) -> Finding:
    """A test on finished runs: on all that it takes, or on these samples of them."""
    taken = results.samples(hypothesis) if samples is None else samples
    measured = _values(hypothesis, results, taken)
    if hypothesis.against is not None:
        measured.append(_covariate(hypothesis, results.study))
    return judged(hypothesis, measured, lhd_architectures.RELEASED_METHODS)


def judged(
    hypothesis: Hypothesis, measured: Sequence[np.ndarray], methods: Sequence[str]
) -> Finding:
    """A test of such values. methods: of the first sample, for a test of one of them."""
    if hypothesis.method is None:
        return TESTS[hypothesis.test](measured, hypothesis.above)
    place = methods.index(hypothesis.method)
    return comparisons.over_control(measured, hypothesis.above, place)


def _values(
    hypothesis: Hypothesis, results: Results, samples: Sequence[Sequence[ArmKey]]
) -> list[np.ndarray]:
    """The values of each sample: in the shape of its arm for the tests of `comparisons`, which
    know methods and evaluations, else one per search or network.
    """
    found = []
    for group, keys in zip(hypothesis.groups(), samples, strict=True):
        measured = np.array([results.measured(hypothesis, key) for key in keys])
        sample = measured.reshape(_shape(group, results.study))
        if hypothesis.test not in comparisons.TESTS and sample.ndim > 1:
            sample = sample.mean(axis=-1).ravel()
        found.append(sample)
    return found


def _covariate(hypothesis: Hypothesis, study: Study) -> np.ndarray:
    """What the measure is compared with, of the architectures of the first arm."""
    first_arm, *_ = hypothesis.groups()[0]
    arm = study.arm(first_arm)
    assert isinstance(arm, Networks) and isinstance(arm.networks, Released)
    assert hypothesis.against is not None
    return comparisons.once(arm.networks.covariate(hypothesis.against))


def _shape(group: Sequence[str], study: Study) -> tuple[int, ...]:
    """Shape of the values of an arm: (searches,), or that of its networks with the evaluations
    last, see `comparisons`.
    """
    arm = study.arm(group[0])
    if isinstance(arm, Networks):
        return *arm.networks.shape, -1
    return (-1,)


def _outcome(claim: PlannedClaim, found: Sequence[Finding], p: float) -> str:
    """One of the four words; p: of the claim, corrected if it is primary."""
    if all(h.test == "described" for h in claim.tests):
        return DESCRIBED
    if any(_refuted(h, f) for h, f in zip(claim.tests, found, strict=True)):
        return REFUTED
    return SUPPORTED if p < LEVEL else UNRESOLVED


def _refuted(hypothesis: Hypothesis, found: Finding) -> bool:
    """Whether the interval lies wholly below the smallest effect of interest,
    or wholly outside of an equivalence.
    """
    if hypothesis.interest is None:
        return hypothesis.test == "equivalent" and (
            found.low > hypothesis.above or found.high < -hypothesis.above
        )
    return found.high < hypothesis.interest


def table(found: Mapping[str, Sequence[Outcome]]) -> pd.DataFrame:
    """A row per test of every claim; found: the outcomes by paper.

    paper, claim, role, sentence, statistic; test, of, method, arms (of one sample: with +); above:
    what the estimate is compared with; interest: the smallest effect of interest; estimate, low,
    high (95 % interval), n (values of each arm), p (one-sided); holm: of a primary claim; outcome,
    remark: of the whole claim. A claim that waits for runs has no estimates.
    """
    rows = []
    for paper, outcomes in found.items():
        for outcome in outcomes:
            claim = outcome.claim
            said = {"paper": paper, "claim": claim.claim, "role": claim.role}
            said |= {"sentence": claim.sentence, "statistic": claim.statistic}
            ends = {"holm": outcome.holm, "outcome": outcome.outcome, "remark": outcome.remark}
            for test, finding in zip_longest(claim.tests, outcome.findings):
                rows.append(said | _test_columns(test) | _finding_columns(finding) | ends)
    return pd.DataFrame(rows)


def _test_columns(test: Hypothesis) -> dict[str, Any]:
    arms = "; ".join(" + ".join(group) for group in test.groups())
    asked = {"test": test.test, "of": test.of, "method": test.method, "arms": arms}
    return asked | {"above": test.above, "interest": test.interest}


def _finding_columns(finding: Finding | None) -> dict[str, Any]:
    if finding is None:
        return dict.fromkeys(["estimate", "low", "high", "n", "p"])
    n = "; ".join(map(str, finding.n))
    estimates = {"estimate": finding.estimate, "low": finding.low, "high": finding.high}
    return {**estimates, "n": n, "p": finding.p}
