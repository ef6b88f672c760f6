"""House checks from the command line: `python -m tests.house [--write-api]`.

Fast: everything is imported, nothing is compiled or run. `make lint` ends with it.
"""

import sys

from .checks import CHECKS
from .exports import API, api_text
from .laws import without_laws
from .sizes import size_table


def main(arguments: list[str]) -> int:
    """Run every check, print what is wrong and the table of sizes; return the exit status."""
    if arguments == ["--write-api"]:
        API.write_text(api_text(), encoding="utf-8")
        return 0
    errors = 0
    for name, check in CHECKS.items():
        found = check()
        errors += len(found)
        print(f"{name}: {'ok' if not found else len(found)}")
        print("".join(f"  {line}\n" for line in found), end="")
    print(size_table())
    if missing := without_laws():
        print(f"no law file yet: {', '.join(missing)}")
    return 1 if errors else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
