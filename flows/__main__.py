"""Run a stage, by hand or for DVC: python -m flows STAGE [ARGUMENT …]"""

from __future__ import annotations

import sys

from clipn.errors import ClipnError
from flows.runtime.companion import client
from flows.stages import STAGES


def main() -> None:
    """Run the command."""
    name, *words = sys.argv[1:] or [""]
    if name not in STAGES:
        sys.exit(f"usage: python -m flows STAGE [ARGUMENT …]; a stage is one of {', '.join(STAGES)}")
    dvc = client.dvc_command()
    if dvc is None:
        from flows.runtime import stage  # takes a second, which the stages of a dvc command spend once

        stage.command(name, words)
        return
    try:
        code = client.run(dvc, name, words)
    except ClipnError as error:
        sys.exit(f"error: {error}")
    sys.exit(code)


if __name__ == "__main__":
    main()
