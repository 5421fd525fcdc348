"""
Payload files as they are: API answers and pushes, byte for byte, each one message.

A folder whose sub-folders are named by platform says itself what its files are.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from schemas.errors import Rejected
from streams.feed.sending import Raw, Sender
from streams.raw_records import key_of
from streams.settings import Settings
from streams.topics import PLATFORMS, RAW_BYTES_MAX

#: Head room for key and headers of a record.
_ENVELOPE_BYTES = 1024


class NothingToFeed(Rejected):
    """There is no file to feed."""


def found(paths: Sequence[Path], platform: str | None) -> list[tuple[str, Path]]:
    """
    Return (platform, file) for everything under *paths*, sorted by name.

    The platform is *platform*, else the nearest folder that is named like one. Raises
    NothingToFeed, which says what to change.
    """
    if platform is not None and platform not in PLATFORMS:
        raise NothingToFeed(
            f"Platform {platform!r} has no raw topic; it is one of {', '.join(PLATFORMS)}."
        )
    files = [(platform or _platform_of(file), file) for path in paths for file in _files(path)]
    if not files:
        raise NothingToFeed(f"No file under {', '.join(map(str, paths))}.")
    return files


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from sorted(file for file in path.rglob("*.json") if file.is_file())
    else:
        raise NothingToFeed(f"{path} does not exist.")


def _platform_of(file: Path) -> str:
    for folder in file.absolute().parents:
        if folder.name in PLATFORMS:
            return folder.name
    raise NothingToFeed(
        f"{file}: say its platform with --platform, or put it into a folder named by one."
    )


async def feed(
    settings: Settings,
    files: Sequence[tuple[str, Path]],
    shop: str,
    log: Path | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Send every file as one message of *shop*; return how many the broker has."""
    platforms = sorted({platform for platform, _ in files})
    async with Sender(settings, platforms, log) as sender:
        for platform, file in files:
            await sender.send(_message(platform, file, shop))
            progress(sender.sent)
        await sender.flush()
        return sender.acknowledged


def _message(platform: str, file: Path, shop: str) -> Raw:
    try:
        payload = file.read_bytes()
    except OSError as error:
        raise NothingToFeed(f"{file}: {error.strerror}.") from error
    if len(payload) > RAW_BYTES_MAX - _ENVELOPE_BYTES:
        raise NothingToFeed(
            f"{file}: {len(payload)} bytes; a message has at most "
            f"{RAW_BYTES_MAX - _ENVELOPE_BYTES}."
        )
    about = {"file": str(file), "platform": platform}
    return Raw(platform, shop, key_of(platform, payload), payload, about)
