"""Searches on RobustDARTS's spaces S1-S4 and final networks of their cells:
what several notebooks show of them.

A run is named by its space, the label of its variant and its seed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from nasutils.measures.estimates import central
from nasutils.report import drawing
from nasutils.runs import Run
from nasutils.spaces import catalogue
from nasutils.spaces.genotype import Genotype
from nasutils.studies.figures import Drawn
from nasutils.studies.published import DARTS_SPACE, S_SPACE_RESULTS
from nasutils.studies.variants import Variants, searches
from nasutils.training.experiment import Experiment
from nasutils.training.finalnet import Evaluation

SpaceKey = tuple[str, str, int]
"""Space, label of the variant, seed."""


def searches_on(
    spaces: Sequence[str], variants: Variants, seeds: Sequence[int], **setting: Any
) -> dict[SpaceKey, Experiment]:
    """The searches of all variants on these spaces; setting: see `variants.Variant.experiment`."""
    found: dict[SpaceKey, Experiment] = {}
    for space in spaces:
        for key, search in searches(variants, seeds, space=space, **setting).items():
            found[space, *key] = search
    return found


def search_setting(p: Any) -> dict[str, Any]:
    """The setting of the searches, from a notebook's parameters: its own begin with s_."""
    return {
        "recipe": {"batch": p.s_batch},
        "images": p.s_images,
        "evaluation": min(p.evaluation, p.s_images),
        "channels": p.s_channels,
        "cells": p.s_cells,
        "epochs": p.s_epochs,
        **{name: getattr(p, name) for name in ("preset", "dataset", "resolution", "precision")},
    }


def described(p: Any) -> str:
    """Searches and final networks in words, from a notebook's parameters."""
    return (
        f"searches on {2 * p.s_images:,} images, C = {p.s_channels}, {p.s_cells} cells,"
        f" {p.s_epochs} epochs, {len(p.s_seeds)} seeds; networks of {p.final_channels} channels,"
        f" {p.final_cells} cells, {p.final_epochs} epochs on {p.final_images:,} images"
    )


def final_setting(p: Any) -> dict[str, Any]:
    """The setting of the final networks: a notebook's parameters that begin with final_."""
    return {
        "images": p.final_images,
        "test_images": p.final_test_images,
        "channels": p.final_channels,
        "cells": p.final_cells,
        "preset": p.final_protocol,
        "protocol": {"epochs": p.final_epochs},
        **{name: getattr(p, name) for name in ("dataset", "resolution", "precision")},
    }


def evaluations(found: Mapping[SpaceKey, Run], **setting: Any) -> dict[SpaceKey, Evaluation]:
    """A final network for the cell of every finished search; setting: fields of `Evaluation`."""
    networks = {}
    for (space, label, seed), run in found.items():
        if result := run.sound_result:
            network = Evaluation(genotype=result["genotype"], space=space, seed=seed, **setting)
            networks[space, label, seed] = network
    return networks


def finals_table(finals: Mapping[SpaceKey, Run]) -> pd.DataFrame:
    """A row per finished network: space, method, seed, test_accuracy (%), best_test_accuracy,
    params, genotype.
    """
    columns = ["test_accuracy", "best_test_accuracy", "params", "genotype"]
    rows = []
    for key, run in finals.items():
        if result := run.sound_result:
            rows.append((*key, *(result[column] for column in columns)))
    return pd.DataFrame(rows, columns=["space", "method", "seed", *columns])


def cells(
    found: Mapping[SpaceKey, Run], labels: Sequence[str], spaces: Sequence[str], seed: int
) -> Drawn:
    """The cells of these variants on these spaces from one seed, of the searches that finished."""
    drawn = {}
    for space in spaces:
        for label in labels:
            if result := found[space, label, seed].sound_result:
                drawn[f"{label} on {space.upper()}"] = Genotype.parse(result["genotype"])
    rows = [(name, str(genotype)) for name, genotype in drawn.items()]
    table = pd.DataFrame(rows, columns=["search", "genotype"])
    return drawing.genotype_figure(drawn), table


def errors_table(finals: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Test error (%) on S1-S4: our final networks of the short protocol with interval and n,
    published ones below.

    finals: see `finals_table`. dataset: of our networks; the published errors are those on it, or
    on CIFAR-10 if there are none.
    """
    rows = []
    for (space, label), group in finals.groupby(["space", "method"], sort=False):
        e = central(100 - group["test_accuracy"].to_numpy())
        row: dict[str, Any] = {"dataset": dataset, "space": space, "method": label}
        row |= e.columns("error")
        row |= {"n": e.n, "params": group["params"].mean() / 1e6}
        rows.append(row)
    ours = pd.DataFrame(rows).assign(source="this run, short protocol")
    published = S_SPACE_RESULTS.assign(source="published: " + S_SPACE_RESULTS["source"])
    known = dataset if dataset in set(published["dataset"]) else "cifar10"
    published = published[published["dataset"] == known]
    columns = ["dataset", "space", "method", "error", "error_low", "error_high", "sd", "n"]
    return pd.concat([ours, published], ignore_index=True)[[*columns, "params", "source"]]


def darts_space_table() -> pd.DataFrame:
    """Published CIFAR-10 errors on the DARTS space,
    and the sizes of the cells that ship (C = 36, 20 cells).
    """
    rows = []
    for cell in catalogue.catalogue().values():
        if cell.space == "darts":
            rows.append(
                {
                    "method": f"cell {cell.name}",
                    "params": cell.params / 1e6,
                    "macs": cell.macs / 1e6,
                    "source": cell.source,
                }
            )
    published = DARTS_SPACE.assign(source="published: " + DARTS_SPACE["source"])
    return pd.concat([pd.DataFrame(rows), published], ignore_index=True)
