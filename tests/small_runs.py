"""What tests of run folders share: work without any search."""

import os


def answer(params, home):
    """Work that ends at once."""
    return {"answer": 42}


def must_not_run(params, home):
    """The work of a run that is finished already."""
    raise AssertionError("the work was done again")


class Bomb:
    """Unpickled by trusting code, it creates the folder it names."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)
