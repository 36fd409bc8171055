"""Single-level search: no validation split, both gradients from one forward and backward pass."""

from nasutils.methods.base import Method


class SingleLevel(Method):
    """A mixin: alpha follows the training loss of all training data,
    at the same point as the weights.
    """

    orders = ("together",)
