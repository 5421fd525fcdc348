"""
Everything that may differ between two installations. The only reader of the environment.

Inner rooms receive values, never `Settings`. Secrets are `SecretStr` and have no default.
"""

from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import BrokerUnavailable, Misconfigured


def _of_postgres(address: SecretStr) -> SecretStr:
    """Refuse now what no connection could ever be made of; the address itself is not repeated."""
    try:
        parts = urlsplit(address.get_secret_value())
        wrong = parts.scheme not in {"postgresql", "postgres"} or parts.port == 0
    except ValueError:
        wrong = True
    if wrong:
        raise ValueError("write it as postgresql://user:password@host:5432/database")
    return address


PostgresAddress = Annotated[SecretStr, AfterValidator(_of_postgres)]


class Settings(BaseSettings):
    """One installation. Every field is `ORDERFLOW_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="ORDERFLOW_", frozen=True, extra="forbid")

    #: Bootstrap servers, `host:port,host:port`.
    kafka: str
    #: PostgreSQL as the owner of the schema (migrations), as the ledger (writes), as a reader, as
    #: the poller, which remembers how far it has read each shop, as the operations API, as
    #: callbacks, which queue and send what subscribers and platforms are told, and alone read the
    #: subscribers' secrets, and as the console, for its users and what they do.
    postgres_owner: PostgresAddress | None = None
    postgres_ledger: PostgresAddress | None = None
    postgres_reader: PostgresAddress | None = None
    postgres_poller: PostgresAddress | None = None
    postgres_operations: PostgresAddress | None = None
    postgres_callbacks: PostgresAddress | None = None
    postgres_console: PostgresAddress | None = None
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
    #: How long a command of a person waits for its answer, where nothing else is said.
    answer_within: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
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

    #: Where `orderflow availability` listens.
    availability_host: str = "127.0.0.1"
    availability_port: int = Field(default=8085, ge=1, le=65535)
    #: Where `orderflow operations` listens; 0 takes any free port.
    operations_host: str = "127.0.0.1"
    operations_port: int = Field(default=8086, ge=0, le=65535)
    #: Where `orderflow console` listens; 0 takes any free port.
    console_host: str = "127.0.0.1"
    console_port: int = Field(default=8088, ge=0, le=65535)
    #: Cookies travel over TLS only; false is for http on loopback.
    console_cookies_secure: bool = True
    #: A session ends so long after its log-in, and so long after its last request.
    console_session_max: timedelta = Field(default=timedelta(hours=12), gt=timedelta(0))
    console_session_idle: timedelta = Field(default=timedelta(hours=2), gt=timedelta(0))
    #: The zone that the console's pages show times in.
    console_zone: str = "Asia/Shanghai"
    #: Whose days the daily report is of, and the days of shops that have no zone of their own.
    company_zone: str = "Asia/Shanghai"
    #: How often the console counts the figures anew of what was written since.
    figures_every: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    #: A shop whose intake is paused for longer than this is alarmed.
    pause_max: timedelta = Field(default=timedelta(hours=4), gt=timedelta(0))
    #: Where the gateway listens; 0 takes any free port.
    gateway_host: str = "127.0.0.1"
    gateway_port: int = Field(default=8080, ge=0, le=65535)
    #: The shops whose messages the gateway takes, whom the poller asks and whom `callbacks run`
    #: tells of parcels; and their secrets.
    shops_file: Path | None = None
    #: A request whose headers, and then whose body, take longer is cut off.
    gateway_slow_after: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    #: The broker's acknowledgement; platforms wait for ours for five seconds.
    gateway_ack_within: timedelta = Field(default=timedelta(seconds=4), gt=timedelta(0))

    #: How often each shop is asked for what was modified.
    polling_every: timedelta = Field(default=timedelta(minutes=5), gt=timedelta(0))
    #: So far each turn goes back before the cursor: clocks differ, and changes are listed late.
    polling_overlap: timedelta = Field(default=timedelta(minutes=10), ge=timedelta(0))
    #: A shop that was never polled is read from so long ago.
    polling_from: timedelta = Field(default=timedelta(days=1), ge=timedelta(0))
    #: A call is made at most so often; the first wait between attempts doubles with each.
    polling_attempts_max: int = Field(default=5, ge=1, le=20)
    polling_first_wait: timedelta = Field(default=timedelta(seconds=3), ge=timedelta(0))
    #: A platform that asks for a longer pause is asked again in a later turn.
    polling_wait_max: timedelta = Field(default=timedelta(minutes=2), ge=timedelta(0))
    #: One attempt, from connecting to the last byte.
    polling_call_within: timedelta = Field(default=timedelta(seconds=30), gt=timedelta(0))
    #: After so many failures in a row a host is left alone, for so long.
    polling_breaker_after: int = Field(default=10, ge=1)
    polling_breaker_for: timedelta = Field(default=timedelta(seconds=30), gt=timedelta(0))
    #: Orders that may wait to be fetched; thin messages wait on their topic beyond it.
    polling_fetches_max: int = Field(default=10_000, ge=1)

    #: How often a platform is asked whether it still sends what its shops subscribed to.
    polling_subscriptions_every: timedelta = Field(default=timedelta(hours=1), gt=timedelta(0))
    #: How often the poller listens whether a channel is silent against its usual rate.
    silence_every: timedelta = Field(default=timedelta(minutes=1), gt=timedelta(0))

    #: Where files that are uploaded to be imported are kept; none: only the command line imports.
    import_folder: Path | None = None

    #: A delivery is tried at most so often; the first wait between attempts doubles with each.
    callbacks_attempts_max: int = Field(default=5, ge=1, le=20)
    callbacks_first_wait: timedelta = Field(default=timedelta(seconds=3), gt=timedelta(0))
    #: Each wait is longer by up to this share, by chance.
    callbacks_jitter: float = Field(default=0.2, ge=0, le=1)
    #: A Retry-After counts up to here.
    callbacks_retry_after_max: timedelta = Field(default=timedelta(hours=1), ge=timedelta(0))
    #: One attempt, from resolving the name to the last byte.
    callbacks_answer_within: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    #: After so many failures in a row a host is left alone, for so long.
    callbacks_breaker_after: int = Field(default=10, ge=1)
    callbacks_breaker_for: timedelta = Field(default=timedelta(seconds=30), gt=timedelta(0))
    #: How often it is looked whether something is due.
    callbacks_look_every: timedelta = Field(default=timedelta(seconds=0.25), gt=timedelta(0))
    #: What is delivered or cancelled is forgotten after this, with its attempts.
    callbacks_keep: timedelta = Field(default=timedelta(days=30), gt=timedelta(0))
    #: Subscribers on this very machine, also without TLS: for a trial, never in production.
    callbacks_loopback: bool = False

    #: Channels, rules and the canary of `orderflow alerts run`; none: the rules of the house, and
    #: the log as the only channel.
    alerts_file: Path | None = None

    #: `name:n`: a test lets the process die as by kill -9 at the n-th visit of a named place.
    failpoint: str = ""

    #: An order dated further in the future than this is parked: its zone was read wrong.
    future_max: timedelta = Field(default=timedelta(minutes=10), ge=timedelta(0))
    log_level: str = "info"
    #: Where an OTLP collector takes traces by HTTP (http://127.0.0.1:4318/v1/traces); empty: off.
    traces: str = Field(default="", pattern=r"^(https?://\S+)?$")
    #: The share of messages whose trace is told, 0 to 1.
    traces_share: float = Field(default=0.01, ge=0, le=1)
    #: Shops, mappings and hold policies to publish on the reference topic.
    reference_file: Path | None = None

    @cached_property
    def group_prefix(self) -> str:
        """Consumer groups carry the topics' prefix."""
        return self.topic_prefix

    def topic(self, name: str) -> str:
        """Return the name of *name* on this installation's broker."""
        return self.topic_prefix + name


def kafka_is_silent(settings: Settings) -> BrokerUnavailable:
    """Return what to raise where Kafka cannot be connected to."""
    return BrokerUnavailable(
        f"Kafka at {settings.kafka} does not answer; start it, or set ORDERFLOW_KAFKA right."
    )


def load(**overrides: Any) -> Settings:
    """Return the settings, or raise Misconfigured with one sentence naming each wrong variable."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        wrong = "; ".join(
            f"ORDERFLOW_{'_'.join(str(part) for part in fault['loc']).upper()}: "
            + fault["msg"].removeprefix("Value error, ")
            for fault in error.errors()
        )
        raise Misconfigured(f"Set the environment right and start again: {wrong}.") from error
