"""`python -m benchmarks [NAME]`: all comparisons, or one."""

import sys

from . import langevin, phi4, training
from ._timing import conditions, store

ALL = {"langevin": langevin.run, "training": training.run, "phi4": phi4.run}


def main(names: list[str]) -> None:
    if unknown := set(names) - set(ALL):
        raise SystemExit(f"no benchmark {sorted(unknown)}: choose of {sorted(ALL)}")
    print(conditions())
    rows = [ALL[name]() for name in names or ALL]
    print(f"\nwritten to {store(rows)}")


if __name__ == "__main__":
    main(sys.argv[1:])
