"""`python -m benchmarks.smoke [NAME ...]`: the smoke preset of every experiment, with its time.

Each runs as a user would run it, in a process of its own, and must meet its numbers; exit code 1 if
one does not. The runs stay in runs/smoke.
"""

import shutil
import subprocess
import sys
import time

from pushforward.experiments import REGISTRY

from .claims import SMOKE


def main(names: list[str]) -> int:
    seconds, failed = {}, []
    for name in names or [name for name, entry in REGISTRY.items() if not entry.hidden]:
        shutil.rmtree(SMOKE / name, ignore_errors=True)
        command = [sys.executable, "-m", "pushforward", "run", name, "preset=smoke", "--check"]
        start = time.perf_counter()
        done = subprocess.run(
            [*command, "--out", str(SMOKE), "--name", name],
            check=False, capture_output=True, text=True,
        )  # fmt: skip
        seconds[name] = time.perf_counter() - start
        if done.returncode:
            failed.append(name)
            print(done.stdout[-3000:], done.stderr[-3000:], sep="\n")
        verdict = f"exit code {done.returncode}" if done.returncode else "green"
        print(f"{name:<24} {seconds[name]:6.1f} s  {verdict}", flush=True)
    print(f"{'sum':<24} {sum(seconds.values()):6.1f} s  {len(failed)} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
