"""Write the judgments to a file, one row each, with the protocol's eight columns.

python scripts/export_judgments.py judgments.parquet --config robopref.toml
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from importer.studio.export import export_judgments
from importer.studio.pull import pull
from preference.config import CONFIG_NAME
from preference.errors import UserError
from preference.work import console
from preference.workspace import Workspace


def main(
    file: Annotated[Path, typer.Argument(help="Ends in .csv, .jsonl or .parquet.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The project's settings.")] = Path(CONFIG_NAME),
    fresh: Annotated[bool, typer.Option("--pull", help="Fetch new answers from Label Studio first.")] = False,
) -> None:
    """Write every judgment to a CSV, JSON Lines or Parquet file."""
    try:
        ws = Workspace.open(config)
        if fresh:
            pull(ws)
        print(f"{export_judgments(ws, file)} judgments in {file}")
    except UserError as error:
        console.print(str(error), style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None


if __name__ == "__main__":
    typer.run(main)
