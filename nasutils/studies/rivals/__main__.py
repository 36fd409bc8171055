"""The comparisons beyond the papers from the command line; see the Makefile's `rivals`.

One after the other, the cheapest first. What is finished in the repository is not computed again;
a run that was killed goes on, one that failed is tried again.
"""

from nasutils.studies import exploratory
from nasutils.studies.rivals.tasks import COMPARISONS


def main() -> None:
    """Parse and do."""
    exploratory.main("nasutils.studies.rivals", __doc__, COMPARISONS)


if __name__ == "__main__":
    main()
