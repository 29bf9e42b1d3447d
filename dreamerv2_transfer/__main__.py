"""`python -m dreamerv2_transfer` is the command `dreamerv2-transfer`."""

from __future__ import annotations

import sys

from dreamerv2_transfer.commands import main

if __name__ == "__main__":
    sys.exit(main())
