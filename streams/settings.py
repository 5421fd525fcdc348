"""
Everything that may differ between two installations. The only reader of the environment.

Inner rooms receive values, never `Settings`. Secrets are `SecretStr` and have no default.
"""

from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import Misconfigured


class Settings(BaseSettings):
    """One installation. Every field is `ORDERFLOW_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="ORDERFLOW_", frozen=True, extra="forbid")

    #: Bootstrap servers, `host:port,host:port`.
    kafka: str
    #: PostgreSQL as the owner of the schema (migrations), as the ledger (writes), as a reader.
    postgres_owner: SecretStr | None = None
    postgres_ledger: SecretStr | None = None
    postgres_reader: SecretStr | None = None
    redis: SecretStr | None = None

    #: Put before every topic and group name, so that several installations share one broker.
    topic_prefix: str = Field(default="", pattern=r"^[a-z0-9-]*$")
    #: Partitions of every keyed topic. For life.
    partitions: int = Field(default=12, ge=1, le=256)
    replication: int = Field(default=1, ge=1, le=9)

    #: The most records a round takes; while it waits for the broker the next one gathers.
    round_records_max: int = Field(default=4_000, ge=1)
    #: A round with little to do begins this long after the last began, at the earliest.
    round_every: timedelta = timedelta(milliseconds=4)
    #: The most records one poll brings of one partition.
    poll_records_max: int = Field(default=2_000, ge=1)
    #: Frames that may wait between the consumer and the rounds.
    frames_waiting_max: int = Field(default=512, ge=1)
    #: Pause between two polls that brought little; 0 spins.
    poll_pause: timedelta = timedelta(milliseconds=3)
    #: A worker that is silent for this long loses its partitions.
    session_timeout: timedelta = timedelta(seconds=10)
    heartbeat_interval: timedelta = timedelta(seconds=2)
    request_timeout: timedelta = timedelta(seconds=60)
    #: How often the end of a changelog is compared with what its owner wrote.
    foreign_check_every: timedelta = timedelta(seconds=5)
    #: Where keepers leave snapshots of their partitions; none: recovery reads whole changelogs.
    snapshots: Path | None = None
    #: A partition that changed has a snapshot at least this often.
    snapshot_every: timedelta = timedelta(minutes=5)
    #: How often positions are reported to the consumer group, for lag dashboards only.
    report_every: timedelta = timedelta(seconds=5)
    #: SIGTERM to exit: the running round ends, within this.
    drain_for: timedelta = timedelta(seconds=5)
    #: After it the supervisor sends SIGKILL.
    grace: timedelta = timedelta(seconds=10)
    #: How long a frame is retried in place while PostgreSQL is away, before the process ends.
    waiting_max: timedelta = timedelta(minutes=10)
    #: Worker slot of this process; gives a static member id, so a quick restart moves nothing.
    slot: str = ""

    #: Health and metrics of a worker; port 0 is off.
    health_host: str = "127.0.0.1"
    health_port: int = Field(default=0, ge=0, le=65535)

    #: `name:n`: a test lets the process die as by kill -9 at the n-th visit of a named place.
    failpoint: str = ""

    #: An order dated further in the future than this is parked.
    future_max: timedelta = timedelta(hours=24)
    log_level: str = "info"
    #: Shops, mappings and hold policies to publish on the reference topic.
    reference_file: Path | None = None

    @cached_property
    def group_prefix(self) -> str:
        """Consumer groups carry the topics' prefix."""
        return self.topic_prefix

    def topic(self, name: str) -> str:
        """Return the name of *name* on this installation's broker."""
        return self.topic_prefix + name


def load(**overrides: Any) -> Settings:
    """Return the settings, or raise Misconfigured with one sentence naming each wrong variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = "; ".join(
            f"ORDERFLOW_{'_'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}"
            for fault in error.errors()
        )
        raise Misconfigured(f"Set the environment right and start again: {wrong}.") from error
