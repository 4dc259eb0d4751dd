"""Ask about pairs of your own choice: a file of pairs becomes a batch, and its tasks go into Label Studio.

The file is a CSV with a header, or JSON Lines, with trajectory_a_id and trajectory_b_id; the ids are manifest.csv's.

    python scripts/import_pairs.py pairs.csv --config robopref.toml
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from importer.pairs import batches
from importer.pairs.pair_file import read_pairs
from importer.studio.push import push
from preference.config import CONFIG_NAME
from preference.errors import UserError
from preference.work import console
from preference.workspace import Workspace


def main(
    pairs: Annotated[Path, typer.Argument(help="The file of pairs.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The project's settings.")] = Path(CONFIG_NAME),
    force: Annotated[bool, typer.Option("--force", help="Although the batch before is not accepted.")] = False,
    plan_only: Annotated[bool, typer.Option("--no-push", help="Make the batch, but leave Label Studio alone.")] = False,
) -> None:
    """Make a batch of the pairs in a file, for the certified annotators, and push it."""
    try:
        ws = Workspace.open(config)
        batch = batches.chosen_batch(ws, read_pairs(pairs), force=force)
        print(f"{batch.batch_id}: {len(ws.store.pairs(batch.batch_id))} pairs")
        if not plan_only:
            print(f"{push(ws).tasks} tasks pushed")
    except UserError as error:
        console.print(str(error), style="red", highlight=False, soft_wrap=True)
        raise typer.Exit(error.exit_code) from None


if __name__ == "__main__":
    typer.run(main)
