import pytest

pytest.register_assert_rewrite(
    *(f"{__name__}.contract_{subject}" for subject in ("people", "writing", "tickets", "cards", "trouble"))
)
