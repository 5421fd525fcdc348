"""What an alerts file may say; what is wrong is named by its place, never by what it holds."""

from pathlib import Path

import pytest

from agents.alert_rules import RULES
from agents.paging import Kind
from schemas.errors import Misconfigured
from streams.alerting.file import Plan, read
from tests.integration.databases import ROOT

CHANNEL = (
    '[[channels]]\nname = "ops"\nkind = "wecom"\nurl = "https://robot.example.com/?key=HUSH"\n'
)


def a_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "alerts.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def plan(folder: Path, text: str) -> Plan:
    return read(a_file(folder, text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        # the bad inputs that were named when this was ordered
        (
            CHANNEL + '[[rules]]\nname = "lag"\nthreshold = -1\n',
            "rules entry 1: Expected `float` >= 0.0 - at `$.threshold`",
        ),
        (
            CHANNEL + '[[rules]]\nname = "lag"\nchannels = ["pager"]\n',
            "rules entry 1: channels: there is no channel 'pager'",
        ),
        (
            '[[channels]]\nname = "ops"\nkind = "carrier-pigeon"\n',
            "channels entry 1: kind: Input should be 'wecom', 'dingtalk', 'lark', 'webhook'",
        ),
        (
            '[[channels]]\nname = "ops"\nkind = "webhook"\nurl = "HUSH"\n',
            "channels entry 1: url: this is no URL such as https://host/path",
        ),
        (CHANNEL.replace("https", "ftp"), "channels entry 1: url: this is no URL"),
        (CHANNEL.replace("robot.example", "robot .example"), "url: this is no URL"),
        (CHANNEL.replace("https", "http"), "channels entry 1: url: write https"),
        # channels
        (CHANNEL + CHANNEL, "channels: ops stands there twice"),
        (CHANNEL.replace("HUSH", "CHANGE-ME"), "url: put your own in place of CHANGE-ME"),
        (CHANNEL + 'secret = "HUSH"\n', "secret: a WeCom robot has none"),
        ('[[channels]]\nname = "ops"\nkind = "lark"\n', "url: lark needs one, or url_file"),
        ('[[channels]]\nname = "log"\nkind = "log"\nurl = "HUSH"\n', "the log has neither"),
        (
            CHANNEL.replace("wecom", "webhook") + 'secret = "HUSH"\n',
            "secret: write whsec_ and 24 to 64 bytes in base64",
        ),
        (CHANNEL + 'url_file = "x"\n', "give url or url_file, not both"),
        (CHANNEL + "colour = 1\n", "channels entry 1: colour: Extra inputs are not permitted"),
        # rules
        ('[[rules]]\nname = "lag"\nclear = 121\n', "clear: it lies above the threshold"),
        ('[[rules]]\nname = "mine"\nthreshold = 1\n', "rules entry 1: Object missing required"),
        ('[[rules]]\nname = "lag"\nsignal = "mood"\n', "signal: it is one of exceptions-open"),
        ('[[rules]]\nname = "lag"\nfor_ms = 1e99\n', "rules entry 1: Expected `int`"),
        ('[[rules]]\nname = "lag"\nfor = 1\n', "for: a rule has no such field"),
        ("[[rules]]\nthreshold = 1\n", "rules entry 1: name: say which rule it is"),
        ('[[rules]]\nname = "lag"\n[[rules]]\nname = "lag"\n', "rules: lag stands there twice"),
        # the rest
        ('[canary]\nurl = "x"\nshop = "canary"\nkey = "HUSH"\n', "canary: url: this is no URL"),
        ('[canary]\nurl = "http://127.0.0.1/"\nshop = "canary"\n', "key: give the API key"),
        ('[disks]\nfolders = ["/not/there"]\n', "folders: /not/there is no folder here"),
        ('[watch]\ngateway = "HUSH"\n', "watch: gateway: this is no URL"),
        ('[self_test]\nzone = "Mars/Base"\n', "zone: there is no zone 'Mars/Base'"),
        ('[self_test]\nat = "25:00"\n', "self_test: at: String should match pattern"),
        ("[chanels]\n", "there is no section 'chanels'"),
        ("channels = 1\n", "write [[channels]]"),
        ('[[channels]]\nname = "HUSH', "is no TOML in UTF-8"),
    ],
)
def test_what_is_wrong_is_told_by_its_place_and_never_by_what_it_holds(
    tmp_path: Path, text: str, told: str
):
    with pytest.raises(Misconfigured) as error:
        plan(tmp_path, text)

    assert told in str(error.value)
    assert "HUSH" not in str(error.value)


def test_a_file_that_everybody_may_read_is_refused(tmp_path: Path):
    with pytest.raises(Misconfigured, match="can be read by everybody"):
        read(a_file(tmp_path, CHANNEL, 0o644))
    with pytest.raises(Misconfigured, match="cannot be read"):
        read(tmp_path / "absent.toml")


def test_without_a_file_the_rules_of_the_house_hold_and_the_log_is_told():
    plan = read(None)

    assert plan.rules == RULES
    assert [each.kind for each in plan.channels] == [Kind.LOG]


def test_a_rule_is_changed_turned_off_or_added(tmp_path: Path):
    found = plan(
        tmp_path,
        CHANNEL
        + '[[rules]]\nname = "exceptions-backlog"\nthreshold = 80\n'
        + '[[rules]]\nname = "drift"\nenabled = false\n'
        + '[[rules]]\nname = "lag-long"\nsignal = "lag"\nthreshold = 600\nclear = 0\n'
        + 'severity = "critical"\nsummary = "x"\nrunbook = "y"\nchannels = ["ops"]\n',
    )

    rules = {rule.name: rule for rule in found.rules}
    assert (rules["exceptions-backlog"].threshold, rules["exceptions-backlog"].clear) == (80, 40)
    assert "drift" not in rules
    assert rules["lag-long"].channels == ("ops",)
    assert len(rules) == len(RULES)


def test_secrets_are_in_no_repr(tmp_path: Path):
    found = plan(
        tmp_path,
        CHANNEL
        + '[[channels]]\nname = "shift"\nkind = "dingtalk"\n'
        + 'url = "https://robot.example.com/HUSH"\nsecret = "HUSH"\n'
        + '[canary]\nurl = "http://127.0.0.1/"\nshop = "canary"\nkey = "HUSH"\n',
    )

    assert "HUSH" not in repr(found)


def test_a_secret_may_stand_in_a_file_of_its_own(tmp_path: Path):
    (tmp_path / "url").write_text("https://robot.example.com/?key=HUSH\n")
    (tmp_path / "url").chmod(0o600)

    found = plan(tmp_path, '[[channels]]\nname = "ops"\nkind = "wecom"\nurl_file = "url"\n')

    assert found.channels[0].url == "https://robot.example.com/?key=HUSH"


def test_the_example_is_a_whole_file_once_its_placeholders_are_replaced(tmp_path: Path):
    example = (ROOT / "deploy" / "alerts.example.toml").read_text(encoding="utf-8")
    with pytest.raises(Misconfigured, match="in place of CHANGE-ME"):
        plan(tmp_path, example)
    # With every line that is commented out too.
    lines = [
        line.removeprefix("# ") if line.startswith(("# [", "# ")) and is_said(line[2:]) else line
        for line in example.splitlines()
    ]
    whole = (
        "\n".join(lines).replace("CHANGE-ME", "a-key").replace("/var/lib/orderflow", str(tmp_path))
    )
    whole = whole.replace("whsec_a-key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    for name in ("dingtalk-url", "dingtalk-secret", "canary-key"):
        (tmp_path / name).write_text("https://robot.example.com/")
        (tmp_path / name).chmod(0o600)

    found = plan(tmp_path, whole)

    assert [each.kind for each in found.channels] == list(Kind)
    assert found.canary is not None
    assert found.folders == (tmp_path,)
    assert found.watch.keys() == {"gateway"}


def is_said(line: str) -> bool:
    """A line of TOML, not of prose."""
    return line.startswith("[") or " = " in line.split("#", maxsplit=1)[0]
