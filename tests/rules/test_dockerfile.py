"""
The image, read as a file where no engine runs: small, not root, content with a read-only disk.

And what can be tried without one: the files that it copies, alone in a folder that nobody may
write, are enough to start every process.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.integration.databases import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, with what follows them."""
    text = re.sub(r"\\\n", " ", DOCKERFILE.read_text())
    found: list[list[tuple[str, str]]] = [[]]
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            found.append([])
        found[-1].append((word, " ".join(rest.split())))
    return found


def copied_from_the_checkout() -> list[str]:
    return [
        rest.split()[0]
        for stage in stages()
        for word, rest in stage
        if word == "COPY" and not rest.startswith("--from=")
    ]


def test_the_last_stage_has_no_tools_to_build_with_and_is_not_root():
    last = stages()[-1]
    said = "\n".join(f"{word} {rest}" for word, rest in last)

    users = [rest for word, rest in last if word == "USER"]
    assert len(stages()) > 3  # what builds, what is ours, what runs
    assert users == ["10001:10001"]
    assert [word for word, _ in last][-1] in {"CMD", "ENTRYPOINT"}
    assert not re.search(r"\b(pip|apt-get|gcc|curl|wget|git)\b", said)
    for word, rest in last:
        if word in {"CMD", "ENTRYPOINT"}:
            assert rest.startswith("["), "a shell in between would not hand on SIGTERM"


def test_nothing_comes_from_an_address_and_no_secret_is_built_in():
    text = DOCKERFILE.read_text()
    words = {word for stage in stages() for word, _ in stage}

    assert "ADD" not in words
    assert not re.search(r"https?://", text)
    assert not re.search(r"(?i)password|token|secret|_key", text)
    assert "--require-hashes" in text
    # A base that moves is named by a release build, by digest.
    assert re.search(
        r"^ARG ORDERFLOW_BASE=python:3\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?$", text, re.MULTILINE
    )


def test_what_is_copied_is_there_and_reaches_the_engine():
    ignored = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignored if line.startswith("!")}

    assert copied_from_the_checkout()
    for path in copied_from_the_checkout():
        assert (ROOT / path).exists(), path
        assert path in let_in, f"{path} is ignored"
    assert "*" in ignored


def test_what_is_copied_is_enough_to_start_from_a_folder_nobody_may_write(tmp_path: Path):
    app = tmp_path / "app"
    for path in copied_from_the_checkout():
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, app / path, ignore=shutil.ignore_patterns("__pycache__"))
    for each in sorted(app.rglob("*"), reverse=True):
        each.chmod(0o555 if each.is_dir() else 0o444)
    app.chmod(0o555)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(app),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONSAFEPATH": "1",
        "ORDERFLOW_KAFKA": "127.0.0.1:1",
    }
    written_before = sorted(app.rglob("*"))
    try:
        for arguments, code in ((("--help",), 0), (("topics", "verify"), 75)):
            done = subprocess.run(
                [sys.executable, "-m", "streams.cli", *arguments],
                env=environment,
                cwd=app,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert done.returncode == code, done.stderr
        assert sorted(app.rglob("*")) == written_before
        from_here = subprocess.run(
            [sys.executable, "-c", "import streams; print(streams.__file__)"],
            env=environment,
            cwd=app,
            capture_output=True,
            text=True,
            check=True,
        )
        assert from_here.stdout.startswith(str(app))
    finally:
        for each in (app, *app.rglob("*")):
            each.chmod(0o755)
