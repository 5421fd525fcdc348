"""
The peers' libraries, in a virtual environment of their own: `.local/bench/venv`.

It is made from deploy/requirements-bench.txt (pinned, hashed) with the Python that runs this, once
for each version of that file. What cannot be installed is a reason, and no error of ours.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.peer import ROOT, NotMeasured, Tell

#: What the peers bring, build and keep; `make clean` takes it away.
BENCH = ROOT / ".local" / "bench"
REQUIREMENTS = ROOT / "deploy" / "requirements-bench.txt"
PYTHON = BENCH / "venv" / "bin" / "python"
_PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "10")
_LAST_WORDS = 300


def way(module: str, python: Path = PYTHON) -> tuple[str, ...]:
    """Return the command that runs *module* of this package in the peers' environment."""
    return (str(python), "-m", f"tests.bench.{module}")


def libraries(*modules: str) -> Callable[[Tell], None]:
    """Return what makes the environment and looks whether *modules* can be imported there."""

    def prepare(tell: Tell) -> None:
        _installed(tell)
        run("import the peer's libraries", str(PYTHON), "-c", f"import {', '.join(modules)}")

    return prepare


def _installed(tell: Tell) -> None:
    stamp, wanted = BENCH / "venv" / "complete", _stamp()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    tell("installing the peers' libraries (once)")
    shutil.rmtree(BENCH / "venv", ignore_errors=True)
    run("make a virtual environment", sys.executable, "-m", "venv", str(BENCH / "venv"))
    arguments = ("--require-hashes", "--timeout", "60", "-r", str(REQUIREMENTS))
    run("install the peers' libraries", str(PYTHON), *_PIP, *arguments)
    stamp.write_text(wanted)


def _stamp() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()


def run(purpose: str, *argv: str, cwd: Path = ROOT) -> str:
    """Run a program that gets a peer ready, and return what it says; raises NotMeasured."""
    try:
        done = subprocess.run(
            argv, cwd=cwd, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
    except OSError as error:
        raise NotMeasured(f"could not {purpose}: {error}") from error
    if done.returncode:
        said = " ".join(done.stdout.split())[-_LAST_WORDS:]
        raise NotMeasured(f"could not {purpose}: {said}")
    return str(done.stdout)
