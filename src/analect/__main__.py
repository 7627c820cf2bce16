"""`python -m analect` is the command `analect`."""

import sys

from analect.cli import main

sys.exit(main())
