"""Differentiable architecture search: spaces, methods and finalnets, every rule checked by number."""

from nasutils import methods, spaces
from nasutils.genotype import Genotype

__all__ = ["Genotype", "methods", "spaces"]
