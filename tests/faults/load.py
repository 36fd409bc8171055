"""What many runs cost: pending tasks on real processes, finished folders, searches in one process.

Run: python -m tests.faults.load             5,000 tasks, 20,000 folders, 200 searches: the table in docs/faults.md
"""

import argparse
import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from nasutils import runs
from nasutils.runs import Run
from nasutils.sweep.launch import sweep
from nasutils.sweep.planning import Outlook
from nasutils.training.computation import Machine
from tests.sweeps import experiment


@dataclass(frozen=True)
class Nothing:
    """A task that is over at once."""

    number: int
    epochs: int = 1

    def params(self):
        return {
            "kind": "nothing",
            "method": "none",
            "space": "none",
            "dataset": "none",
            "number": self.number,
        }

    def check(self, machine):
        pass

    def run(self, machine):
        return runs.run(self._work, self.params(), machine.runs)

    def _work(self, params, run):
        run.append({"epoch": 0, "cost": {"seconds": 0.0}}, {"epoch": 1})
        return {"epochs": 1}


def memory():
    """Of this process (MiB)."""
    return psutil.Process().memory_info().rss / 2**20


def cpu():
    """Seconds of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measured(work):
    """What `work()` returned, CPU seconds and growth of memory (MiB)."""
    memory_before, cpu_before = memory(), cpu()
    found = work()
    return found, cpu() - cpu_before, memory() - memory_before


def pending(root, count, workers=2):
    """Tasks that wait for processes; how many finished."""
    done = sweep([Nothing(i) for i in range(count)], Machine(root), workers)
    return sum(run.finished for run in done)


def folders(root, count):
    """Finished runs that a sweep finds; how many it finds, and a look at the time left."""
    tasks = [Nothing(i) for i in range(count)]
    machine = Machine(root)
    for task in tasks:
        task.run(machine)
    return measured(lambda: (len(sweep(tasks, machine, 1)), Outlook(tasks, machine)({}))[0])


def searches(root, count):
    """Searches one after the other in this process; the memory (MiB) after each."""
    found = []
    for seed in range(count):
        home = experiment(seed, epochs=1).run(Machine(root))
        assert isinstance(home, Run) and home.finished
        found.append(memory())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--folders", type=int, default=20_000)
    parser.add_argument("--searches", type=int, default=200)
    given = parser.parse_args()
    print("| what | CPU seconds | memory grows by (MiB) |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as root:
        done, seconds, grown = measured(lambda: pending(Path(root) / "tasks", given.tasks))
        what = f"{given.tasks} pending tasks on 2 processes, {done} finished"
        print(f"| {what} | {seconds:.0f} | {grown:.0f} |", flush=True)
        done, seconds, grown = folders(Path(root) / "folders", given.folders)
        print(f"| a sweep of {done} finished runs | {seconds:.1f} | {grown:.0f} |", flush=True)
        used, seconds, _ = measured(lambda: searches(Path(root) / "searches", given.searches))
        grown = used[-1] - used[len(used) // 10]
        print(
            f"| {given.searches} searches in one process | {seconds:.0f} | {grown:.0f} after the"
            " first tenth |"
        )


if __name__ == "__main__":
    main()
