"""The shops file: what is taken from it, and that what is wrong is named and never quoted."""

import hashlib
from pathlib import Path

import pytest

from schemas.errors import Misconfigured
from streams.gateway.shops import Shops, read

ROOT = Path(__file__).parents[2]
SHOPIFY = '[[shops]]\nplatform = "shopify"\nshop = "jsmith"\n'
MALL = '[[shops]]\nplatform = "mall"\nshop = "main"\n'


def shops(folder: Path, text: str | bytes, mode: int = 0o640) -> Shops:
    file = folder / "shops.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(mode)
    return read(file)


def secret_file(folder: Path, name: str, text: str, mode: int = 0o400) -> None:
    file = folder / name
    file.write_text(text)
    file.chmod(mode)


def test_secrets_stand_in_the_file_or_in_mounted_ones_beside_it(tmp_path: Path):
    secret_file(tmp_path, "jsmith.old", "from-a-file\n")
    text = SHOPIFY + 'secrets = ["in-the-file"]\nsecret_files = ["jsmith.old"]\n'

    shop = shops(tmp_path, text).find("shopify", "jsmith")

    assert shop is not None
    assert shop.secrets == (b"in-the-file", b"from-a-file")


def test_an_api_key_is_kept_as_its_hash_and_finds_its_shop(tmp_path: Path):
    hashed = hashlib.sha256(b"second").hexdigest()
    text = MALL + f'secrets = ["first", "sha256:{hashed}"]\n'

    known = shops(tmp_path, text)

    for key in (b"first", b"second"):
        found = known.of_key(key)
        assert found is not None
        assert found.name == "main"
    for key in (b"", b"third", hashed.encode(), b"sha256:" + hashed.encode()):
        assert known.of_key(key) is None
    assert "first" not in repr(known)


def test_a_secret_of_a_platform_is_no_api_key(tmp_path: Path):
    known = shops(tmp_path, SHOPIFY + 'secrets = ["shared"]\n' + MALL + 'secrets = ["own"]\n')

    assert known.of_key(b"shared") is None


def test_a_shop_shows_no_secret_when_it_is_printed(tmp_path: Path):
    assert "hush" not in repr(shops(tmp_path, SHOPIFY + 'secrets = ["hush-hush"]\n'))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no [[shops]] entry"),
        ("shops = 7", "no [[shops]] entry"),
        ("shops = [7]", "shops entry 1"),
        ('[[shops]]\nplatform = "hush', "is no TOML"),
        (b'[[shops]]\nplatform = "hush\xff"', "is no TOML"),
        (SHOPIFY, "secrets: 0 in all"),
        (SHOPIFY + "secrets = []", "secrets: 0 in all"),
        (SHOPIFY + 'secrets = [""]', "secrets.0"),
        (SHOPIFY + 'secrets = ["hush", "hush2", "hush3"]', "secrets: 3 in all"),
        (SHOPIFY + 'secrets = "hush"', "secrets"),
        (SHOPIFY + 'secrets = ["hush"]\nsecert = "hush"', "secert"),
        (SHOPIFY + 'secret_files = ["gone"]', "gone cannot be read"),
        ('[[shops]]\nplatform = "shopify"\nsecrets = ["hush"]', "shop: "),
        ('[[shops]]\nplatform = "shopify"\nshop = "a/b"\nsecrets = ["hush"]', "shop: "),
        ('[[shops]]\nplatform = "ebay"\nshop = "a"\nsecrets = ["hush"]', "platform: it is one of"),
        ('[[shops]]\nplatform = "taobao"\nshop = "a"\nsecrets = ["hush"]', "message channel"),
        ('[[shops]]\nplatform = "shopee"\nshop = "a"\nsecrets = ["hush"]', "callback_url"),
        ('[[shops]]\nplatform = "douyin"\nshop = "a"\nsecrets = ["hush"]', "app_key"),
        ('[[shops]]\nplatform = "tiktokshop"\nshop = "a"\nsecrets = ["hush"]', "app_key"),
        ('[[shops]]\nplatform = "kuaishou"\nshop = "a"\nsecrets = ["hush"]', "secrets[0]"),
        (SHOPIFY + 'secrets = ["hush"]\n' + SHOPIFY + 'secrets = ["hush2"]', "stands there twice"),
        (SHOPIFY + 'secrets = ["hush"]\nreplay_window = "PT5M"', "signs no time"),
        (MALL + 'secrets = ["sha256:hush"]', "64 hexadecimal digits"),
        (
            MALL
            + 'secrets = ["hush"]\n[[shops]]\nplatform = "mall"\nshop = "b"\nsecrets = ["hush"]',
            "have the same API key",
        ),
    ],
)
def test_a_wrong_entry_is_named_and_its_secret_is_not_shown(
    tmp_path: Path, text: str | bytes, says: str
):
    with pytest.raises(Misconfigured) as refused:
        shops(tmp_path, text)

    assert says in str(refused.value)
    assert "hush" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o777])
def test_a_file_that_everybody_may_read_is_refused(tmp_path: Path, mode: int):
    with pytest.raises(Misconfigured, match="can be read by everybody"):
        shops(tmp_path, SHOPIFY + 'secrets = ["hush"]', mode)

    secret_file(tmp_path, "secret", "hush", mode)
    with pytest.raises(Misconfigured, match="can be read by everybody"):
        shops(tmp_path, SHOPIFY + 'secret_files = ["secret"]')


def test_an_empty_secret_file_is_no_secret(tmp_path: Path):
    secret_file(tmp_path, "secret", "\n")

    with pytest.raises(Misconfigured, match="is empty"):
        shops(tmp_path, SHOPIFY + 'secret_files = ["secret"]')


def test_without_a_file_the_setting_is_named(tmp_path: Path):
    with pytest.raises(Misconfigured, match="ORDERFLOW_SHOPS_FILE"):
        read(None)
    with pytest.raises(Misconfigured, match="cannot be read: No such file"):
        read(tmp_path / "gone.toml")


def test_the_example_in_deploy_is_a_shops_file_once_its_secrets_are_put_in(tmp_path: Path):
    text = (ROOT / "deploy" / "shops.example.toml").read_text()

    for name in ("jsmith.secret", "kuaishou.secret"):
        secret_file(tmp_path, name, "MDEyMzQ1Njc4OWFiY2RlZg==")
    with pytest.raises(Misconfigured, match="in place of CHANGE-ME"):
        shops(tmp_path, text)
    known = shops(tmp_path, text.replace('["CHANGE-ME"]', '["a-secret"]'))

    assert {platform for platform, _ in known.by_name} == {
        "shopify", "woocommerce", "tiktokshop", "shopee", "douyin", "kuaishou", "mall",
    }  # fmt: skip
