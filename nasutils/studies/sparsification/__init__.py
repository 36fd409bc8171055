"""Search at a small temperature (arXiv 2306.06855): compared and claimed."""

from nasutils.studies.sparsification.claims import CLAIMS
from nasutils.studies.sparsification.results import Results
from nasutils.studies.sparsification.variants import S_VARIANTS, VARIANTS

__all__ = ["CLAIMS", "S_VARIANTS", "VARIANTS", "Results"]
