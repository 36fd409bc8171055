"""What the four notebooks share: `from nasutils.notebook import *` gives parameters, runs,
figures, tables and claims.

What belongs to one study alone is imported from `nasutils.studies.<notebook>`.
"""

import inspect
from functools import partial

from IPython.display import Image, Markdown, display

from nasutils import paths, spaces
from nasutils.report import claims, diagnosis, plots, widgets
from nasutils.report.gallery import Gallery, best_picture, show
from nasutils.report.params import (
    Budgets,
    Count,
    DartsCells,
    DartsChannels,
    DataSet,
    DataSets,
    Device,
    Engine,
    Labels,
    OperationName,
    Positive,
    Precision,
    Preset,
    ProtocolName,
    Rates,
    Scale,
    Seeds,
    Share,
    Split,
    SSpaces,
    Switch,
    Weight,
    check,
)
from nasutils.spaces.nasbench201 import EDGES, OPS
from nasutils.studies import figures as shared
from nasutils.studies import readings as read
from nasutils.studies import small_spaces
from nasutils.studies.confirmation import figures as confirmation
from nasutils.studies.confirmation import outcomes, page
from nasutils.sweep.launch import finished, gather
from nasutils.training.computation import Machine

__all__ = [
    "EDGES",
    "OPS",
    "Budgets",
    "Count",
    "DartsCells",
    "DartsChannels",
    "DataSet",
    "DataSets",
    "Device",
    "Engine",
    "Gallery",
    "Image",
    "Labels",
    "Machine",
    "Markdown",
    "OperationName",
    "Positive",
    "Precision",
    "Preset",
    "ProtocolName",
    "Rates",
    "SSpaces",
    "Scale",
    "Seeds",
    "Share",
    "Split",
    "Switch",
    "Weight",
    "best_picture",
    "check",
    "claims",
    "confirmation",
    "diagnosis",
    "display",
    "finished",
    "gather",
    "inspect",
    "outcomes",
    "page",
    "partial",
    "paths",
    "read",
    "shared",
    "show",
    "small_spaces",
    "spaces",
    "widgets",
]

plots.use_style()
