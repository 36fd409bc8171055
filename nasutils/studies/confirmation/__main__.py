"""The confirmatory study from the command line;
see the Makefile's `confirmation` and `results`.
"""

import argparse
from pathlib import Path

from nasutils import paths
from nasutils.studies.confirmation import plan
from nasutils.studies.confirmation.campaign import Campaign
from nasutils.studies.exploratory import add_machine, side_by_side
from nasutils.training.computation import Machine


def main() -> None:
    """Parse and do."""
    parser = argparse.ArgumentParser(
        prog="python -m nasutils.studies.confirmation", description=__doc__
    )
    parser.add_argument("action", choices=["run", "status", "results"])
    parser.add_argument(
        "--part", default="searches", choices=list(plan.read()), help="of the plan"
    )
    add_machine(parser, ("laptop", "paper"))
    parser.add_argument(
        "--own",
        type=Path,
        action="append",
        default=[],
        help="own data that the plan names by content",
    )
    given = parser.parse_args()
    machine = Machine(given.runs or paths.runs(given.scale), given.data, device=given.device)
    campaign = Campaign(plan.read()[given.part], machine, given.scale, given.own)
    if given.action == "run":
        if campaign.study.registered is None:
            parser.error(
                f"part {given.part} of {plan.FILE} is not registered yet: nothing of it is"
                " computed before"
            )
        campaign.compute(**side_by_side(given))
    elif given.action == "status":
        print(campaign.status(given.workers))
    else:
        from nasutils.studies.confirmation import page  # draws, which computing does not need

        page.write()


if __name__ == "__main__":
    main()
