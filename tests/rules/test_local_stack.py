"""
What `deploy/stack.py` promises before it touches anything: whose services these are, what is said.
"""

import importlib.util
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, with a `.local` of its own and nothing told by the environment."""
    for name in [name for name in os.environ if name.startswith("ORDERFLOW_")]:
        monkeypatch.delenv(name)
    spec = importlib.util.spec_from_file_location("the_local_stack", ROOT / "deploy" / "stack.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOCAL", tmp_path)
    monkeypatch.setattr(module.State, "path", tmp_path / "stack.json")
    monkeypatch.setattr(module, "ENV_FILE", tmp_path / "stack.env")
    return module


@pytest.fixture
def address() -> Iterator[str]:
    """Somebody else's service: it listens, and that is all."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_what_is_missing_is_said_in_one_sentence_to_whoever_is_not_root(
    stack: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(stack, "servers_missing", lambda: iter([
        ("kafka needs Java 17 or newer", "default-jre-headless"),
        ("redis server", "redis-server"),
    ]))  # fmt: skip
    monkeypatch.setattr(stack, "docker_works", lambda: False)
    monkeypatch.setattr(stack, "module_present", lambda name: True)
    monkeypatch.setattr(stack.os, "geteuid", lambda: 1000)

    assert stack.main(["install"]) == 1

    (said,) = capsys.readouterr().err.splitlines()
    assert said == (
        "stack: Install what is missing first: apt-get install default-jre-headless redis-server "
        "(kafka needs Java 17 or newer; redis server)."
    )


def test_an_address_of_the_environment_is_used_and_nothing_is_started_for_it(
    stack: ModuleType, address: str
):
    state = stack.State()

    stack.look_at_environment(state, {"ORDERFLOW_KAFKA": address})

    assert stack.addresses(state)["ORDERFLOW_KAFKA"] == address
    assert [part.name for part in stack.our_parts(state)] == ["postgres", "redis"]
    for verb in ("start", "stop", "kill", "restart"):
        with pytest.raises(stack.StackError, match="it is not ours to"):
            stack.break_part(state, verb, stack.PARTS["kafka"], immediate=False)


def test_an_address_where_nobody_answers_and_half_of_the_addresses_are_refused(
    stack: ModuleType, address: str
):
    with pytest.raises(stack.StackError, match="Nothing answers at the ORDERFLOW_KAFKA"):
        stack.look_at_environment(stack.State(), {"ORDERFLOW_KAFKA": "127.0.0.1:1"})
    half = {"ORDERFLOW_POSTGRES_OWNER": f"postgresql://{address}/orderflow"}
    with pytest.raises(stack.StackError, match=r"but not .*ORDERFLOW_POSTGRES_READER.*: give all"):
        stack.look_at_environment(stack.State(), half)


def test_a_process_with_the_pid_of_one_of_ours_is_never_signalled(stack: ModuleType):
    """The machine was started again, and the number belongs to somebody else now."""
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        state = stack.State()
        state.section("processes")["kafka"] = [stranger.pid, "1"]

        stack.Native(state).end(stack.PARTS["kafka"], signal.SIGKILL)

        assert stranger.poll() is None
        assert state.section("processes") == {}
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize(("engine", "runner"), [(0, "docker"), (1, "native")])
def test_docker_runs_the_parts_only_where_its_engine_answers(
    stack: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: int,
    runner: str,
):
    client = tmp_path / "bin" / "docker"
    client.parent.mkdir()
    client.write_text(f'#!/bin/sh\n[ "$1" = info ] && exit {engine}\nexit 0\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{client.parent}:{os.environ['PATH']}")

    assert stack.runner_for(stack.State()).name == runner


def test_a_port_that_somebody_uses_is_left_to_them(stack: ModuleType, address: str):
    taken = int(address.partition(":")[2])
    stack.DEFAULT_PORTS["redis"] = taken

    assert stack.port(stack.State(), "redis") > taken


def test_a_password_is_invented_once_and_readable_by_its_owner_alone(stack: ModuleType):
    state = stack.State()
    first, other = state.secret("redis"), state.secret("postgres")
    state.save()

    assert stack.State().secret("redis") == first != other
    assert stack.State.path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("there", "fonts", "said"),
    [
        ({"chromium", "fc-list"}, "WenQuanYi Micro Hei\n", []),
        ({"google-chrome", "fc-list"}, "WenQuanYi Micro Hei\n", []),
        ({"chromium", "fc-list"}, "", ["fonts-wqy-microhei"]),
        (set(), "", ["chromium", "fonts-wqy-microhei"]),
    ],
)
def test_whoever_is_not_root_is_told_what_the_pages_are_tried_with_and_goes_on(
    stack: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    there: set[str], fonts: str, said: list[str],
):  # fmt: skip
    def listed(*_: object, **__: object) -> "subprocess.CompletedProcess[str]":
        if "fc-list" not in there:
            raise FileNotFoundError
        return subprocess.CompletedProcess([], 0, fonts)

    monkeypatch.setattr(stack.shutil, "which", lambda name, **_: name if name in there else None)
    monkeypatch.setattr(stack.subprocess, "run", listed)
    monkeypatch.setattr(stack.os, "geteuid", lambda: 1000)

    stack.browser()

    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"stack: the pages are not tried in a browser; for that: apt-get install {' '.join(said)}"
    ] * bool(said)


@pytest.mark.parametrize(("cluster", "ours"), [("ours-1", True), ("another", False)])
def test_a_broker_that_another_checkout_started_on_our_port_is_not_taken_for_ours(
    stack: ModuleType, tmp_path: Path, cluster: str, ours: bool
):
    """Both looked for a free port at once, and it is the other one that listens there now."""
    folder = tmp_path / "kafka" / "data"
    folder.mkdir(parents=True)
    (folder / "meta.properties").write_text("version=1\ncluster.id=ours-1\n")
    name = cluster.encode()
    said = struct.pack(">iiih", 1, 1, 1, 9) + b"127.0.0.1" + struct.pack(">ih", 19092, -1)
    said += struct.pack(">h", len(name)) + name + struct.pack(">ii", 1, 0)

    with socket.create_server(("127.0.0.1", 0)) as broker:
        port = broker.getsockname()[1]
        (tmp_path / "stack.json").write_text(json.dumps({"ports": {"kafka": port}}))

        def answer() -> None:
            link, _ = broker.accept()
            with link:
                link.recv(1_000)
                link.sendall(struct.pack(">i", len(said)) + said)

        answering = threading.Thread(target=answer)
        answering.start()
        assert stack.answers(stack.PARTS["kafka"], stack.State()) is ours
        answering.join(10)
