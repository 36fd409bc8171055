import pytest

from nasutils.errors import choose


def test_a_choice_passes_and_another_names_the_nearest():
    assert choose("method", "darts", ("darts", "gdas")) == "darts"
    with pytest.raises(
        ValueError, match="unknown method 'sp-dart': choose one of 'darts', 'sp-darts'; did you mean 'sp-darts'"
    ):
        choose("method", "sp-dart", ("darts", "sp-darts"))


def test_nothing_near_no_hint():
    with pytest.raises(ValueError, match="choose one of 'a', 'b'$"):
        choose("letter", "zzz", ("a", "b"))
