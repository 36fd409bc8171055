"""Many runs at once cost what they should, and memory stays flat;
`load.py` does the same with more of them.

Run: pytest tests/faults/test_load.py
"""

import pytest

from tests.faults import load


@pytest.mark.slow
def test_many_pending_tasks_finish_on_few_processes(tmp_path):
    assert load.pending(tmp_path, 200) == 200


def test_finished_runs_are_found_in_milliseconds_each(tmp_path):
    found, seconds, grown = load.folders(tmp_path, 500)
    assert found == 500 and seconds < 500 * 0.02 and grown < 50


@pytest.mark.slow
def test_searches_in_one_process_leave_no_memory_behind(tmp_path, one_thread):
    used = load.searches(tmp_path, 12)
    assert used[-1] - used[3] < 60
