"""Names in the catalogue: one for each name, and none for two."""

from hypothesis import given
from hypothesis import strategies as st

from lambdas.publish.catalogue_names import in_catalogue

NAMES = st.lists(
    # Every character but surrogates: to ask a codec for those that it has takes a second.
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=4
    )
    | st.sampled_from(["a", "A", "a_1", "A_1", "a_2"]),
    unique=True,
)


@given(NAMES)
def test_every_name_has_one_of_its_own(names: list[str]) -> None:
    found = in_catalogue(names)

    assert list(found) == names
    assert len({name.lower() for name in found.values()}) == len(names)
    assert all(min(name) >= " " for name in found.values())


@given(NAMES)
def test_a_name_that_the_catalogue_takes_stays_as_it_is(names: list[str]) -> None:
    found = in_catalogue(names)

    for name in names:
        if name == name.lower() and min(name) >= " " and "\x7f" not in name:
            assert found[name] == name


def test_a_name_is_never_one_that_is_taken() -> None:
    assert in_catalogue(["a", "b"], taken=["a"]) == {"a": "a_1", "b": "b"}
