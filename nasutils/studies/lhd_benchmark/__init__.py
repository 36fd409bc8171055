"""Rethink DARTS Search Space and Renovate a New Benchmark (ICML 2023): compared and claimed."""

from nasutils.studies.lhd_benchmark.claims import CLAIMS
from nasutils.studies.lhd_benchmark.results import Results, step_seconds
from nasutils.studies.lhd_benchmark.variants import (
    SPACE,
    Training,
    at_hand,
    cells,
    chosen,
    evaluations,
    expected_cells,
    searches,
)

__all__ = [
    "CLAIMS",
    "SPACE",
    "Results",
    "Training",
    "at_hand",
    "cells",
    "chosen",
    "evaluations",
    "expected_cells",
    "searches",
    "step_seconds",
]
