"""`python -m penstock` is the `penstock` command."""

import sys

from .cli import main

sys.exit(main())
