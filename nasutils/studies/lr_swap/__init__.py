"""EX-DARTS and selective stop (arXiv 2109.13466): compared and claimed."""

from nasutils.studies.lr_swap.claims import CLAIMS
from nasutils.studies.lr_swap.results import Results
from nasutils.studies.lr_swap.variants import VARIANTS, chosen, grid, grid_variants, searches

__all__ = ["CLAIMS", "VARIANTS", "Results", "chosen", "grid", "grid_variants", "searches"]
