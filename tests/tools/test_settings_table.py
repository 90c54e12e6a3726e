"""docs/settings.md says what the specs say."""

from tools import settings_table


def test_the_page_is_up_to_date():
    assert settings_table.PAGE.read_text("utf-8") == settings_table.page(), "run python3 -m tools.settings_table"
