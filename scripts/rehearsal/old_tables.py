"""Put what the database holds into the tables of an early version, as that version would have kept it.

Run inside the service `migrate`, by `python -c`. What those tables had no place for is gone.
"""

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from preference.config_file import load_config
from preference.store.migrate import MIGRATIONS

REVISION = "0005"
"""Before labels, reviews and requests were kept in tables."""


def put_into_old_tables(url: str) -> None:
    """The tables of the schema `public` are made anew."""
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS))
    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        kept = {table.name: connection.execute(sa.select(table)).mappings().all() for table in _tables(connection)}
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
        settings.attributes["connection"] = connection
        command.upgrade(settings, REVISION)
        for table in _tables(connection):
            rows = [
                {name: row[name] for name in (column.name for column in table.columns) if name in row}
                for row in kept[table.name]
            ]
            rows.sort(key=lambda row: row.get("duplicate_of") is not None)  # what a row names comes before it
            if rows and table.name != "alembic_version":
                connection.execute(sa.insert(table), rows)
    engine.dispose()


def _tables(connection: sa.Connection) -> list[sa.Table]:
    found = sa.MetaData()
    found.reflect(connection)
    return found.sorted_tables


if __name__ == "__main__":
    put_into_old_tables(load_config(Path("robopref.toml")).database.get_secret_value())
