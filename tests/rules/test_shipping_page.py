"""docs/shipping.md says of each platform and carrier what the tables do."""

import re
from pathlib import Path

import pytest

from agents.carriers import BY_NAME, CARRIERS, CODES, OTHER, WITHOUT
from agents.shipments import SAYS
from schemas.errors import Refusal
from streams.shipping.saying import WHY_NOT
from tables.parcels import PARCELS_MAX

PAGE = (Path(__file__).parents[2] / "docs" / "shipping.md").read_text(encoding="utf-8")
COLUMNS = ("taobao", "jd", "pdd", "douyin", "xiaohongshu", "amazon")


def table_of_carriers() -> str:
    """The table as it stands on the page."""
    rows = [f"| | {' | '.join(f'`{name}`' for name in COLUMNS)} |", "|---" * 7 + "|"]
    for carrier, name in CARRIERS.items():
        cells = []
        for platform in COLUMNS:
            code = CODES[platform].get(carrier)
            other = OTHER.get(platform, "")
            said = code.said if code else f"{other}, {name}" if other else ""
            cells.append(said if not code or code.confirmed else f"({said})")
        rows.append(f"| `{carrier}` {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


@pytest.mark.parametrize("platform", SAYS)
def test_the_page_says_what_a_platform_hears(platform: str) -> None:
    says = SAYS[platform]

    assert f"| `{platform}` | {says.hears} | {says.waybills_max} |" in PAGE


def test_the_page_has_every_carrier_as_the_table_has_it() -> None:
    assert table_of_carriers() in PAGE, f"docs/shipping.md is stale:\n{table_of_carriers()}"
    for platform in (*BY_NAME, *WITHOUT, *(name for name, codes in CODES.items() if not codes)):
        assert re.search(rf"`{platform}`", PAGE.split("## Carriers")[1]), platform


def test_the_page_names_every_refusal_of_a_parcel_and_the_limit() -> None:
    of_every_command = {Refusal.ID_REUSED, Refusal.TOO_OLD}
    for refusal in WHY_NOT.keys() - of_every_command:
        assert f"`{refusal}`" in PAGE
    assert f"it has {PARCELS_MAX} parcels" in PAGE
