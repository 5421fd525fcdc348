"""
The topics as resources of Strimzi, written from their one declaration: `orderflow topics strimzi`.

Where an operator owns the broker's topics, `orderflow topics apply` is not used; workers verify at
their start all the same that every topic is there with its partitions. A test keeps
`deploy/k8s/strimzi/topics.yaml` equal to this.
"""

from collections.abc import Iterator

from streams.engine.admin import config_of, count_of
from streams.settings import Settings
from streams.topics import TOPICS, Topic

#: The only version that the current definition of KafkaTopic serves.
API = "kafka.strimzi.io/v1"
#: Of topics whose count is the installation's: an overlay sets them all by it.
KEYED = 'orderflow/keyed: "true"'
_HEAD = """\
# Written by `orderflow topics strimzi`; do not edit. Partitions are for life: the operator can only
# add some, which would send keys to other partitions than their rows.
"""


def strimzi(settings: Settings, cluster: str) -> str:
    """Return every topic of this installation as YAML, for the Kafka resource called *cluster*."""
    return _HEAD + "---\n".join(_resource(settings, topic, cluster) for topic in TOPICS)


def _resource(settings: Settings, topic: Topic, cluster: str) -> str:
    return "\n".join([*_lines(settings, topic, cluster), ""])


def _lines(settings: Settings, topic: Topic, cluster: str) -> Iterator[str]:
    name = settings.topic(topic.name)
    yield f"apiVersion: {API}"
    yield "kind: KafkaTopic"
    yield "metadata:"
    yield f"  name: {name}"
    yield "  labels:"
    yield f"    strimzi.io/cluster: {cluster}"
    if topic.partitions is None:
        yield f"    {KEYED}"
    yield "spec:"
    yield f"  partitions: {count_of(settings, topic)}"
    yield f"  replicas: {settings.replication}"
    yield "  config:"
    for key, value in sorted(config_of(settings, topic).items()):
        yield f'    {key}: "{value}"'
