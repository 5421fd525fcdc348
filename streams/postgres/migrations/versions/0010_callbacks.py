"""
Callbacks: subscribers, their secrets, and the queue of what goes out over HTTP.

* `deliveries` is the queue of every kind of destination. One row is a message to a destination;
  `message` is its id for the receiver, the same at every attempt, and unique there. Of one `lane`
  (an order) of a destination the waiting row with the lowest id goes first, the others behind it.
* A row that is being sent is leased: until `leased_until` nobody else sends it. `attempts` counts
  what was begun, so that a sender which dies in the middle has used one.
* `delivery_destinations` is what the queue knows of a destination: where it stands, how much at
  once, until when it asked to be left alone. `delivery_hosts` is the breaker of each host that is
  not well; a host without a row is.
* `delivery_attempts` is the log of what was tried.
* `callback_positions` is how far `order-events` was read into the queue, moved in the transaction
  that writes the rows.
* A secret is written by operations and read by callbacks alone. `subscriber_changes` is
  append-only.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE callback_positions (
        topic text COLLATE "C" NOT NULL,
        partition integer NOT NULL,
        next bigint NOT NULL,
        written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        PRIMARY KEY (topic, partition)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE delivery_destinations (
        kind text COLLATE "C" NOT NULL CHECK (kind <> ''),
        id text COLLATE "C" NOT NULL CHECK (id <> ''),
        host text COLLATE "C" NOT NULL CHECK (host <> ''),
        standing text NOT NULL DEFAULT 'active'
            CHECK (standing IN ('active', 'paused', 'gone', 'removed')),
        standing_why text NOT NULL DEFAULT '',
        at_once integer NOT NULL DEFAULT 4 CHECK (at_once BETWEEN 1 AND 64),
        not_before timestamptz,
        PRIMARY KEY (kind, id)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE delivery_hosts (
        host text COLLATE "C" PRIMARY KEY,
        circuit text NOT NULL CHECK (circuit IN ('closed', 'open', 'trying')),
        failures integer NOT NULL,
        until timestamptz NOT NULL,
        changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE deliveries (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text COLLATE "C" NOT NULL,
        destination text COLLATE "C" NOT NULL,
        lane text COLLATE "C" NOT NULL,
        message text COLLATE "C" NOT NULL,
        about text COLLATE "C" NOT NULL,
        body bytea NOT NULL,
        state text NOT NULL DEFAULT 'waiting'
            CHECK (state IN ('waiting', 'delivered', 'parked', 'cancelled')),
        attempts integer NOT NULL DEFAULT 0,
        made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        waiting_since timestamptz NOT NULL DEFAULT clock_timestamp(),
        due_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        leased_by text COLLATE "C",
        leased_until timestamptz,
        ended_at timestamptz,
        UNIQUE (kind, destination, message),
        CHECK ((state = 'waiting') = (ended_at IS NULL)),
        CHECK ((leased_by IS NULL) = (leased_until IS NULL))
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE INDEX deliveries_due ON deliveries (kind, destination, due_at, id)
        WHERE state = 'waiting'
    """,
    """
    CREATE INDEX deliveries_lane ON deliveries (kind, destination, lane, id)
        WHERE state = 'waiting'
    """,
    """
    CREATE INDEX deliveries_leased ON deliveries (kind, destination)
        WHERE state = 'waiting' AND leased_until IS NOT NULL
    """,
    "CREATE INDEX deliveries_of ON deliveries (kind, destination, id)",
    "CREATE INDEX deliveries_ended ON deliveries (ended_at) WHERE ended_at IS NOT NULL",
    """
    CREATE TABLE delivery_attempts (
        delivery bigint NOT NULL REFERENCES deliveries ON DELETE CASCADE,
        attempt integer NOT NULL,
        at timestamptz NOT NULL,
        outcome text NOT NULL,
        status integer,
        latency_ms integer NOT NULL CHECK (latency_ms >= 0),
        why text NOT NULL,
        said text NOT NULL
    )
    """,
    "COMMENT ON COLUMN delivery_attempts.said IS 'the beginning of the answer, masked'",
    "CREATE INDEX delivery_attempts_of ON delivery_attempts (delivery, at)",
    """
    CREATE TABLE subscribers (
        id text COLLATE "C" PRIMARY KEY,
        name text COLLATE "C" NOT NULL UNIQUE CHECK (name <> ''),
        url text NOT NULL,
        types text[] NOT NULL,
        shops text[] NOT NULL,
        made_at timestamptz NOT NULL DEFAULT clock_timestamp()
    )
    """,
    """
    CREATE TABLE subscriber_secrets (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        subscriber text COLLATE "C" NOT NULL,
        secret text NOT NULL,
        made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        expires_at timestamptz
    )
    """,
    "CREATE INDEX subscriber_secrets_of ON subscriber_secrets (subscriber, id)",
    "COMMENT ON TABLE subscriber_secrets IS 'written by operations, read by callbacks alone'",
    """
    CREATE TABLE subscriber_changes (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        subscriber text COLLATE "C" NOT NULL,
        did text NOT NULL CHECK
            (did IN ('added', 'paused', 'resumed', 'rotated', 'removed', 'tested', 'gone')),
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        by text NOT NULL CHECK (by <> ''),
        why text NOT NULL CHECK (why <> '')
    )
    """,
    "COMMENT ON TABLE subscriber_changes IS 'append-only: who did what to a subscriber, and why'",
    "CREATE INDEX subscriber_changes_of ON subscriber_changes (subscriber, id)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for table in (
        "subscriber_changes",
        "subscriber_secrets",
        "subscribers",
        "delivery_attempts",
        "deliveries",
        "delivery_hosts",
        "delivery_destinations",
        "callback_positions",
    ):
        op.execute(f"DROP TABLE {table}")
