"""What `notebooks/sparsification.ipynb` compares."""

from nasutils.studies.variants import Variant, Variants

VARIANTS: Variants = {
    "DARTS": Variant("darts"),
    "small T": Variant("pcd-darts", {"schedule": "constant", "noisy": False}),
    "small T + noisy": Variant("pcd-darts", {"schedule": "constant"}),
    "linear": Variant("pcd-darts", {"schedule": "linear"}),
    "PCD": Variant("pcd-darts", {"schedule": "periodic"}),
    "EDD, open loop": Variant("edd-darts", {"adaptive": False}),
    "EDD": Variant("edd-darts"),
    "SP-DARTS": Variant("sp-darts"),
}
"""`small T` is T = 1e-3 from epoch 5 on; `EDD, open loop` keeps H at its maximum."""


S_VARIANTS: Variants = {
    "DARTS": Variant("darts"),
    "PCD": Variant("pcd-darts"),
    "EDD": Variant("edd-darts"),
    "random cell": Variant("random"),
}
"""The variants compared on S1 to S4."""
