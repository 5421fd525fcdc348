"""
What is said of Kubernetes in deploy/k8s, rendered by Kustomize and held against its schemas.

No cluster runs here: that every field exists and has its type, that no process of the house was
forgotten, and that topics, counts and commands are those of the code. `python3 deploy/stack.py
tools`, which `make test` runs, brings what is missing.
"""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from typer.main import get_command

from streams.cli import app
from streams.manifests import strimzi
from streams.settings import Settings
from streams.topology import LISTENERS
from tests.integration.databases import ROOT
from tests.integration.test_health_pages import PROCESSES
from tests.needs import NAMED, needed

FOLDER = ROOT / "deploy" / "k8s"
TOOLS = ROOT / ".local" / "tools"
SCHEMAS = TOOLS / "kubernetes-1.34.json"
OVERLAYS = sorted(path.parent.name for path in (FOLDER / "overlays").glob("*/kustomization.yaml"))
GOES_ON = {"StatefulSet", "Deployment"}
OURS = ["python", "-m", "streams.cli"]
#: Only a role that owns a table has snapshots, which a test of its own asks for.
SNAPSHOTS = "ORDERFLOW_SNAPSHOTS"
Doc = dict[str, Any]


def _exactly(required: str, **properties: Any) -> Doc:
    """An object with these fields and no other."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": properties,
    }


_TEXT: Doc = {"type": "string"}
_COUNT: Doc = {"type": "integer", "minimum": 1}
_NAMED = {
    "apiVersion": _TEXT,
    "kind": _TEXT,
    "metadata": _exactly("name", name=_TEXT, namespace=_TEXT, labels={"type": "object"}),
}
#: Two kinds that Kubernetes itself does not know, as far as we use them, by their documentation.
OTHERS: dict[tuple[str, str], Doc] = {
    ("kafka.strimzi.io/v1", "KafkaTopic"): _exactly(
        "apiVersion kind metadata spec",
        **_NAMED,
        spec=_exactly(
            "partitions replicas",
            topicName=_TEXT,
            partitions=_COUNT,
            replicas=_COUNT,
            config={"type": "object", "additionalProperties": _TEXT},
        ),
    ),
    ("keda.sh/v1alpha1", "ScaledObject"): _exactly(
        "apiVersion kind metadata spec",
        **_NAMED,
        spec=_exactly(
            "scaleTargetRef minReplicaCount maxReplicaCount triggers",
            scaleTargetRef=_exactly("name", apiVersion=_TEXT, kind=_TEXT, name=_TEXT),
            minReplicaCount=_COUNT,
            maxReplicaCount=_COUNT,
            pollingInterval=_COUNT,
            cooldownPeriod=_COUNT,
            advanced=_exactly(
                "horizontalPodAutoscalerConfig",
                horizontalPodAutoscalerConfig=_exactly(
                    "behavior",
                    behavior={
                        "$ref": "/api/_definitions.json#/$defs/"
                        "io.k8s.api.autoscaling.v2.HorizontalPodAutoscalerBehavior"
                    },
                ),
            ),
            triggers={
                "type": "array",
                "minItems": 1,
                "items": _exactly(
                    "type metadata",
                    type={"enum": ["kafka", "cpu"]},
                    metricType={"enum": ["Utilization", "AverageValue"]},
                    # Every value of a trigger is text; a number is refused by the operator.
                    metadata={
                        "type": "object",
                        "additionalProperties": False,
                        "properties": dict.fromkeys(
                            (
                                "bootstrapServers", "consumerGroup", "topic", "lagThreshold",
                                "activationLagThreshold", "offsetResetPolicy", "value",
                                "excludePersistentLag", "ensureEvenDistributionOfPartitions",
                            ),
                            _TEXT,
                        ),
                    },
                ),
            },
        ),
    ),
}  # fmt: skip


@cache
def rendered(overlay: str) -> tuple[Doc, ...]:
    """What `kubectl apply -k` would send."""
    path = str(FOLDER / "overlays" / overlay)
    kustomize = shutil.which("kustomize", path=TOOLS) or shutil.which("kustomize")
    kubectl = shutil.which("kubectl")
    if not (kustomize or kubectl):
        pytest.skip("no kustomize and no kubectl; `python3 deploy/stack.py tools` builds it")
    command = [kustomize, "build", path] if kustomize else [str(kubectl), "kustomize", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


@cache
def definitions() -> tuple[Doc, Registry[Any]]:
    if not SCHEMAS.exists():
        pytest.skip("no schemas; `python3 deploy/stack.py tools` fetches them")
    found = json.loads(SCHEMAS.read_text())
    return found["$defs"], Registry().with_resource(
        "/api/_definitions.json", Resource.from_contents(found)
    )


def wrongs(doc: Doc) -> list[str]:
    """What its schema has against *doc*."""
    known, registry = definitions()
    schema = OTHERS.get((doc["apiVersion"], doc["kind"]))
    if schema is None:
        (name,) = (
            name
            for name, each in known.items()
            if {"group": _group(doc), "version": _version(doc), "kind": doc["kind"]}
            in each.get("x-kubernetes-group-version-kind", ())
        )
        schema = {"$ref": f"/api/_definitions.json#/$defs/{name}"}
    validator = Draft202012Validator(schema, registry=registry)
    return [f"{each.json_path}: {each.message}" for each in validator.iter_errors(doc)]


def _group(doc: Doc) -> str:
    return str(doc["apiVersion"]).rpartition("/")[0]


def _version(doc: Doc) -> str:
    return str(doc["apiVersion"]).rpartition("/")[2]


def of(overlay: str, *kinds: str) -> dict[str, Doc]:
    """The resources of some kinds, by name."""
    return {doc["metadata"]["name"]: doc for doc in rendered(overlay) if doc["kind"] in kinds}


def pods(overlay: str) -> dict[str, Doc]:
    """Every pod that anything would start."""
    found = {n: d["spec"]["template"] for n, d in of(overlay, *GOES_ON, "Job").items()}
    crons = of(overlay, "CronJob")
    return found | {n: d["spec"]["jobTemplate"]["spec"]["template"] for n, d in crons.items()}


def containers(pod: Doc) -> list[Doc]:
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def settings_of(overlay: str) -> dict[str, str]:
    (found,) = of(overlay, "ConfigMap").values()
    return dict(found["data"])


def words(doc: Doc) -> tuple[str, ...]:
    return tuple(doc["spec"]["template"]["spec"]["containers"][0]["args"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_field_exists_and_has_its_type(overlay: str):
    said = {
        f"{doc['kind']} {doc['metadata']['name']}": found
        for doc in rendered(overlay)
        if (found := wrongs(doc))
    }

    assert said == {}


def test_a_field_that_does_not_exist_is_told():
    doc = json.loads(json.dumps(of("large", "StatefulSet")["orders"]))
    doc["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    scaled = json.loads(json.dumps(of("large", "ScaledObject")["orders"]))
    scaled["spec"]["triggers"][0]["metadata"]["lagThreshold"] = 10

    assert any("readynessProbe" in each for each in wrongs(doc))
    assert any("not of type 'string'" in each for each in wrongs(scaled))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_process_of_the_house_is_forgotten(overlay: str):
    commands = [words(doc) for doc in of(overlay, *GOES_ON).values()]
    roles = sorted(
        role
        for each in commands
        if each[:3] == ("worker", "--bare", "--roles")
        for role in each[3].split(",")
    )
    others = {_process(command) for command, _ in PROCESSES.values()} - {("worker",)}

    assert roles == sorted(LISTENERS)
    assert {_process(each) for each in commands} - {("worker",)} == others


def _process(command: tuple[str, ...]) -> tuple[str, ...]:
    """`reference publish` of `reference publish --every 5`."""
    end = next((at for at, word in enumerate(command) if word.startswith("-")), len(command))
    return command[:end]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_may_do_nothing_that_it_need_not(overlay: str):
    for name, pod in pods(overlay).items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        # Kubernetes would set ORDERFLOW_…_PORT for a Service of that name.
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for each in containers(pod):
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert each["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert "memory" in each["resources"]["limits"], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_process_is_asked_after_spread_and_given_time_to_end(overlay: str):
    settings = Settings(kafka="none:0")
    needed = settings.drain_for + settings.grace

    for name, doc in of(overlay, *GOES_ON).items():
        spec = doc["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        ports = {port["name"] for port in container["ports"]}
        for probe, path in (
            ("startupProbe", "/healthz"),
            ("livenessProbe", "/healthz"),
            ("readinessProbe", "/readyz"),
        ):
            assert container[probe]["httpGet"]["path"] == path, name
            assert container[probe]["httpGet"]["port"] in ports, name
        assert spec["terminationGracePeriodSeconds"] > needed.total_seconds(), name
        assert {each["topologyKey"] for each in spec["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_keeps_its_name_and_a_keeper_its_snapshots(overlay: str):
    for name, doc in of(overlay, "StatefulSet").items():
        spec = doc["spec"]
        (container,) = spec["template"]["spec"]["containers"]
        env = {each["name"]: each for each in container["env"]}
        assert env["ORDERFLOW_SLOT"]["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}
        roles = words(doc)[3].split(",")
        mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
        claims = [each["metadata"]["name"] for each in spec.get("volumeClaimTemplates", ())]
        owns = any(LISTENERS[role].owns for role in roles)
        assert (claims == ["snapshots"]) is owns, name
        if owns:
            assert env["ORDERFLOW_SNAPSHOTS"]["value"] == mounts["snapshots"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_whatever_has_several_pods_loses_one_at_a_time(overlay: str):
    budgets = {
        doc["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
        for doc in of(overlay, "PodDisruptionBudget").values()
    }
    several = {
        doc["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"]
        for doc in of(overlay, *GOES_ON).values()
        # Where there is no number, KEDA has one.
        if doc["spec"].get("replicas", 2) > 1
    }

    assert budgets == several
    for name, doc in of(overlay, *GOES_ON).items():
        chosen = doc["spec"]["selector"]["matchLabels"].items()
        assert chosen <= doc["spec"]["template"]["metadata"]["labels"].items(), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_settings_are_ours_and_secrets_are_only_named(overlay: str):
    known = {f"ORDERFLOW_{name.upper()}" for name in Settings.model_fields}
    said = (FOLDER / "README.md").read_text()

    assert of(overlay, "Secret") == {}
    assert settings_of(overlay).keys() <= known
    for name, pod in pods(overlay).items():
        for each in containers(pod):
            for variable in each.get("env", ()):
                assert variable["name"] in known, name
                assert "://" not in variable.get("value", ""), name
                if secret := variable.get("valueFrom", {}).get("secretKeyRef"):
                    assert secret == {"name": "addresses", "key": variable["name"]}, name
                    assert variable["name"] in said
        for volume in pod["spec"].get("volumes", ()):
            if "secret" in volume:
                assert f"secret generic {volume['secret']['secretName']}" in said


def wanted(container: Doc) -> set[str]:
    """The addresses and places that the container's command reads, as variables."""
    if container["command"] != OURS:  # a client of PostgreSQL, which saves what its owner has
        return {"ORDERFLOW_POSTGRES_OWNER"}
    return {f"ORDERFLOW_{name.upper()}" for name in needed(tuple(container["args"]))}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_is_given_what_its_command_reads_and_nothing_else(overlay: str):
    named = {f"ORDERFLOW_{name.upper()}" for name in NAMED}
    everybody = settings_of(overlay).keys() & named
    for name, pod in pods(overlay).items():
        for each in containers(pod):
            given = {variable["name"] for variable in each.get("env", ())} & named
            assert given - {SNAPSHOTS} == wanted(each) - everybody - {SNAPSHOTS}, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_may_reach_what_it_needs_and_nothing_else(overlay: str):
    policies = of(overlay, "NetworkPolicy")
    assert policies["nothing-else"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    for name, pod in pods(overlay).items():
        labels = pod["metadata"]["labels"]
        asked = set[str]().union(*map(wanted, containers(pod)))
        for what in ("kafka", "postgres", "redis"):
            label = f"orderflow/reaches-{what}"
            wants = any(each.startswith(f"ORDERFLOW_{what.upper()}") for each in asked)
            assert (labels.get(label) == "true") is wants, (name, what)
            assert policies[what]["spec"]["podSelector"] == {"matchLabels": {label: "true"}}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_uploads_lie_where_every_process_that_shows_them_sees_them(overlay: str):
    claims = of(overlay, "PersistentVolumeClaim")
    places = {
        (mount["mountPath"], volume["persistentVolumeClaim"]["claimName"], variable["value"])
        for pod in pods(overlay).values()
        for each in containers(pod)
        for variable in each.get("env", ())
        if variable["name"] == "ORDERFLOW_IMPORT_FOLDER"
        for mount in each["volumeMounts"]
        for volume in pod["spec"]["volumes"]
        if volume["name"] == mount["name"] == "imports"
    }

    ((path, claim, said),) = places
    assert said == path
    # Pods of several processes, on several nodes.
    assert claims[claim]["spec"]["accessModes"] == ["ReadWriteMany"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_command_is_one_of_the_command_line(overlay: str):
    for name, pod in pods(overlay).items():
        for each in containers(pod):
            if each["command"] != OURS:
                assert name == "backup"
                continue
            command, rest = get_command(app), list(each["args"])
            while rest and rest[0] in getattr(command, "commands", {}):
                command = command.commands[rest.pop(0)]  # type: ignore[attr-defined]
            # `orderflow console` is a command and has commands.
            assert getattr(command, "invoke_without_command", True), (name, rest)
            command.make_context(name, rest)  # raises for an option that does not exist


def test_the_topics_of_the_operator_are_those_of_the_house():
    declared = Settings(kafka="none:0", partitions=12, replication=3)

    # As text: `orderflow topics strimzi --partitions 12` writes it anew.
    assert (FOLDER / "strimzi" / "topics.yaml").read_text() == strimzi(declared, "orderflow")


def test_a_large_installation_has_one_count_of_partitions_everywhere():
    count = int(settings_of("large")["ORDERFLOW_PARTITIONS"])
    topics = of("large", "KafkaTopic")
    declared = yaml.safe_load_all(
        strimzi(Settings(kafka="none:0", partitions=count, replication=3), "orderflow")
    )

    assert {name: doc["spec"] for name, doc in topics.items()} == {
        doc["metadata"]["name"]: doc["spec"] for doc in declared
    }
    assert {doc["metadata"]["namespace"] for doc in topics.values()} == {"kafka"}


def test_a_fleet_grows_with_the_lag_of_its_own_group_and_never_past_the_partitions():
    count = int(settings_of("large")["ORDERFLOW_PARTITIONS"])
    fleets = of("large", "StatefulSet", "Deployment")

    for name, doc in of("large", "ScaledObject").items():
        spec, (trigger,) = doc["spec"], doc["spec"]["triggers"]
        target = fleets[spec["scaleTargetRef"]["name"]]
        assert target["kind"] == spec["scaleTargetRef"]["kind"]
        assert "replicas" not in target["spec"], f"{name}: an apply would set it back"
        if trigger["type"] != "kafka":
            continue
        about = trigger["metadata"]
        role = LISTENERS[about["consumerGroup"]]
        assert words(target)[3] == role.name
        assert about.get("topic") in {None, *(topic.name for topic in role.reads)}
        assert about["bootstrapServers"] == settings_of("large")["ORDERFLOW_KAFKA"]
        assert 2 <= spec["minReplicaCount"] <= spec["maxReplicaCount"] <= count


def test_the_folders_are_all_rendered():
    named = {Path(path).parent.name for path in map(str, FOLDER.rglob("kustomization.yaml"))}

    assert named - {"base", "strimzi", "keda"} == set(OVERLAYS)
