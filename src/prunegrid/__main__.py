"""`python -m prunegrid`."""

import sys

from prunegrid.run.main import main

sys.exit(main())
