"""Single-level search: no validation split, both gradients from one forward and backward pass."""

from dataclasses import replace

from nasutils.methods.base import Method, Recipe


class SingleLevel(Method):
    """A mixin: alpha follows the training loss of all training data, at the same point as the weights."""

    orders = ("together",)

    @property
    def recipe(self) -> Recipe:
        return replace(super().recipe, order="together", split="all")
