"""The former name of `python -m utils.speed`."""
from utils.speed import main

if __name__ == "__main__":
    raise SystemExit(main())
