import re

import pytest
import yaml

from nasutils.errors import check_kind, choose, positive, share, up_to, whole


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


@pytest.mark.parametrize("value", [0, 9])
def test_what_exceeds_what_there_is_is_named(value):
    assert up_to("batch", 1, 8) == 1 and up_to("batch", 8, 8) == 8
    with pytest.raises(ValueError, match=f"^batch must be 1 to 8, not {value}$"):
        up_to("batch", value, 8)
    with pytest.raises(ValueError, match=f"^batch must be 1 to 8, the images, not {value}$"):
        up_to("batch", value, 8, "the images")


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), True, "1", None])
def test_what_is_no_share_is_named(value):
    assert share("epsilon", 0) == 0 and share("epsilon", 1.0) == 1
    with pytest.raises(ValueError, match=f"^epsilon must be a number from 0 to 1, not {value!r}$"):
        share("epsilon", value)


@pytest.mark.parametrize(
    ("given", "right"), [("1e-3", "1.0e-3"), ("-2E5", "-2.0e+5"), ("1.5e3", "1.5e+3")]
)
def test_a_number_that_yaml_takes_for_a_text_is_written_as_it_wants_it(given, right):
    assert yaml.safe_load(given) == given and yaml.safe_load(right) == float(given)
    for refuse in (lambda: positive("rate", given), lambda: check_kind("rate", given, float)):
        with pytest.raises(
            ValueError, match=re.escape(f"{given!r} (for YAML a text: write {right}")
        ):
            refuse()
    with pytest.raises(ValueError, match="not 'half'$"):
        positive("rate", "half")
