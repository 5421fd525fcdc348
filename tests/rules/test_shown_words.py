"""What commands show is what was said, whatever is in it."""

import pytest

from streams.cli.answers import console, table

SAID = ("put it into [shops.api.carriers], and retry", "HTTP 400: [/no such] [b]tag[/b]", "[red]")


@pytest.mark.parametrize("said", SAID)
def test_brackets_in_a_table_are_words_and_no_markup(
    said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = table("", "what", "value")
    shown.add_row("reason", said)

    console().print(shown)

    assert said in capsys.readouterr().out
