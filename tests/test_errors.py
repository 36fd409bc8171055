import pytest

from nasutils.errors import choose, whole


def test_a_choice_passes_and_another_names_the_nearest():
    assert choose("method", "darts", ("darts", "gdas")) == "darts"
    with pytest.raises(
        ValueError,
        match=(
            "unknown method 'sp-dart': choose one of 'darts', 'sp-darts'; did you mean 'sp-darts'"
        ),
    ):
        choose("method", "sp-dart", ("darts", "sp-darts"))


def test_nothing_near_no_hint():
    with pytest.raises(ValueError, match="choose one of 'a', 'b'$"):
        choose("letter", "zzz", ("a", "b"))


def test_case_does_not_hide_what_is_near():
    with pytest.raises(ValueError, match="unknown method 'DARTS'.*did you mean 'darts'"):
        choose("method", "DARTS", ("darts", "gdas"))


@pytest.mark.parametrize("value", [0, 1.5, "2", True, None])
def test_what_is_no_whole_number_is_named(value):
    assert whole("epochs", 3) == 3 and whole("seed", 0, 0) == 0
    with pytest.raises(
        ValueError, match=f"epochs must be a whole number, 1 or more, not {value!r}"
    ):
        whole("epochs", value)
