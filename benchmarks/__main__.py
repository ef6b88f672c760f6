"""`python -m benchmarks [NAME]`: all comparisons, or one."""

import sys

from . import langevin, phi4, sit, training
from ._timing import conditions, store

ALL = {"langevin": langevin.run, "training": training.run, "phi4": phi4.run, "sit": sit.run}


def main(names: list[str]) -> None:
    if unknown := set(names) - set(ALL):
        raise SystemExit(f"no benchmark {sorted(unknown)}: choose of {sorted(ALL)}")
    print(conditions())
    rows = []
    for name in names or ALL:
        found = ALL[name]()
        rows += found if isinstance(found, list) else [found]
    print(f"\nwritten to {store(rows)}")


if __name__ == "__main__":
    main(sys.argv[1:])
