"""Eliminating Information Bypass Leakage (SP-DARTS, arXiv 2306.06858):
compared and claimed.
"""

from nasutils.studies.bypass_leakage.claims import CLAIMS
from nasutils.studies.bypass_leakage.results import Results, speedups
from nasutils.studies.bypass_leakage.variants import S_VARIANTS, VARIANTS, searches

__all__ = ["CLAIMS", "S_VARIANTS", "VARIANTS", "Results", "searches", "speedups"]
