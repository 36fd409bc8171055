"""211 real searches of RobustDARTS (Zela et al., ICLR 2020):
outside evidence for the collapse and its signs.

S1 on CIFAR-10 and S3 on SVHN, 5 drop-path probabilities x 7 weight decays x 3 seeds (one of them
twice), 50 epochs each; per epoch the one-shot errors (%) and losses, the parameter-free operations
of the normal cell, and for 67 searches every second epoch the largest eigenvalue of the Hessian of
the validation loss in alpha, plus the decay of alpha (0.001). No final test errors exist.
"""

from functools import cache

import pandas as pd

from nasutils import paths

SPACES = {"s1": "S1, CIFAR-10", "s3": "S3, SVHN"}
"""Space -> its name with the data set of its searches."""


@cache
def searches() -> pd.DataFrame:
    """A row per search and epoch: search, space, dataset, drop_path, weight_decay, seed, epoch,
    train_error, valid_error (%), train_loss, valid_loss, skips, free (of the 8 edges of the normal
    cell), eigenvalue (nan: not logged)."""
    return pd.read_csv(paths.shipped("robustdarts.csv.gz"))
