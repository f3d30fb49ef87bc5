"""Whether outputs must be the same bytes each time, for notebooks that are tested."""

from __future__ import annotations

import os


def is_deterministic() -> bool:
    """Tell whether times, ids and addresses are to be left out of what is shown.

    ``NBFLOW_DETERMINISTIC=1`` asks for that.
    """
    return os.environ.get("NBFLOW_DETERMINISTIC", "").lower() not in ("", "0", "false", "no")
