"""
${message}.

Revision ${up_revision}, after ${down_revision or "nothing"}.
"""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None

#: One statement each: a prepared statement holds one command.
STATEMENTS = (
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError
