"""The old name of tests/annotate/stub.py."""
import runpy
import sys
from pathlib import Path

STUB = Path(__file__).parent / "annotate" / "stub.py"

if __name__ == "__main__":
    sys.argv[0] = str(STUB)
    runpy.run_path(str(STUB), run_name="__main__")
else:
    sys.path.insert(0, str(STUB.parent))
    from stub import *  # noqa: F403
