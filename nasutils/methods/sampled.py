"""What GDAS and DrNAS share: mixing weights that are drawn,
anew for each of the two updates of an iteration.
"""

from abc import abstractmethod

import torch

from nasutils.methods.base import Method
from nasutils.spaces.base import Mix


class Sampled(Method):
    """A method whose steps sample. An iteration draws two seeds, one for the alpha step's sample
    and one for the weight step's.
    """

    def begin_step(self) -> None:
        self.seeds = torch.randint(2**62, (2,), generator=self.generator).tolist()

    def mixing(self) -> Mix:
        return self.sample(torch.Generator().manual_seed(self.seeds[0]))

    def weight_mixing(self) -> Mix:
        return self.sample(torch.Generator().manual_seed(self.seeds[1]))

    @abstractmethod
    def sample(self, draws: torch.Generator) -> Mix:
        """Mixing weights drawn from the current alpha."""
