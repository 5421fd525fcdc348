"""Restate as a peer: its server from npm, its handlers in the peers' virtual environment."""

import hashlib
import platform
import shutil
from pathlib import Path

from tests.bench.installing import BENCH, libraries, run, way
from tests.bench.peer import Measure, Tell, program

_HERE = Path(__file__).parent
_INTO = BENCH / "restate"
_KIND = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_SERVER = _INTO.joinpath(
    *("node_modules", "@restatedev", f"restate-server-linux-{_KIND}", "bin", "restate-server")
)
#: Nobody's install script is run: one of them reports the installation to a third party.
_NPM = ("npm", "install", "--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund")


def prepare(tell: Tell) -> None:
    """Install server and SDK, once for each version; raises NotMeasured."""
    libraries("restate", "hypercorn", "confluent_kafka", "orjson")(tell)
    stamp, wanted = _INTO / "complete", _wanted()
    if not stamp.exists() or stamp.read_text() != wanted:
        tell("installing the Restate server (once, about 220 MB)")
        shutil.rmtree(_INTO, ignore_errors=True)
        _INTO.mkdir(parents=True)
        shutil.copy(_HERE / "package.json", _INTO)
        run("install the Restate server", *_NPM, cwd=_INTO)
        stamp.write_text(wanted)
    run("run the Restate server", str(_SERVER), "--version")


def _wanted() -> str:
    return hashlib.sha256((_HERE / "package.json").read_bytes()).hexdigest()


def objects() -> Measure:
    """Return the measure of one server and one process of handlers; the CPU is that of both."""
    return program("Restate", *way("restate.reserve"), str(_SERVER))
