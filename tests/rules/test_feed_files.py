"""Files are fed as they are, and a folder may say which platform they are of."""

from pathlib import Path

import pytest

from streams.demo import samples
from streams.feed.files import NothingToFeed, found


def _file(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text("{}")
    return file


def test_a_folder_named_by_platform_says_what_its_files_are(tmp_path: Path) -> None:
    one, two = _file(tmp_path / "taobao", "a.json"), _file(tmp_path / "shopify" / "more", "b.json")

    assert found([tmp_path], None) == [("shopify", two), ("taobao", one)]


def test_a_platform_that_is_given_beats_the_folders(tmp_path: Path) -> None:
    file = _file(tmp_path / "taobao", "a.json")

    assert found([tmp_path], "tmall") == [("tmall", file)]


@pytest.mark.parametrize(
    ("make", "platform", "says"),
    [
        ("a.json", None, "--platform"),
        ("a.json", "ebay", "one of taobao"),
        (None, "taobao", "No file under"),
    ],
)
def test_what_cannot_be_fed_is_refused_with_what_to_do(
    tmp_path: Path, make: str | None, platform: str | None, says: str
) -> None:
    if make:
        _file(tmp_path / "somewhere", make)

    with pytest.raises(NothingToFeed, match=says):
        found([tmp_path], platform)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NothingToFeed, match=r"nowhere\.json does not exist"):
        found([tmp_path / "nowhere.json"], "taobao")


def test_the_demo_has_samples_of_every_platform_and_goods_for_them() -> None:
    platforms = {platform for platform, _ in samples.files()}

    assert platforms == {"taobao", "tmall", "douyin", "shopify"}
    assert len(samples.orders()) > 15
    assert {"BASKET-L", "HOOK-C", "DY-MOUSE-W"} <= samples.stock().keys()
