"""`python -m benchmarks.claims [NAME ...]`: run laptop presets, three seeds; write docs/results.md.

The page is generated from run folders alone, failures included: those of runs/claims, and where an
experiment has none, its `smoke` run of runs/smoke (`make smoke`). Finished runs are not run again;
`--no-run` only writes the page.
"""

import subprocess
import sys
from pathlib import Path

from pushforward.experiments import REGISTRY
from pushforward.report import format_value
from pushforward.runs import RunFolder

ROOT = Path(__file__).resolve().parents[1]
RUNS, SMOKE = ROOT / "runs" / "claims", ROOT / "runs" / "smoke"
SEEDS = (0, 1, 2)
HEAD = """# Results

Generated from run folders by `make claims`; ours beside the expected numbers, failures included.
Each row: seeds of the `laptop` preset, or one `smoke` run where a system was only checked to work.
A number is judged by the rule beside it; one standard error is in brackets. Times are wall
seconds of the whole run, compilation included.
"""


def main(arguments: list[str]) -> None:
    names = [name for name, entry in REGISTRY.items() if not entry.hidden]
    if "--no-run" not in arguments:
        for name in arguments or names:
            for seed in SEEDS:
                _run(name, seed)
    text = "\n".join([HEAD, *(_section(name) for name in names)])
    (ROOT / "docs" / "results.md").write_text(text)
    print(f"wrote {ROOT / 'docs' / 'results.md'}")


def _run(name: str, seed: int) -> None:
    command = [sys.executable, "-m", "pushforward", "run", name, "preset=laptop"]
    where = ["--out", str(RUNS), "--name", f"{name}-{seed}", "--or-resume"]
    code = subprocess.run([*command, f"seed={seed}", *where], check=False).returncode
    print(f"{name}, seed {seed}: exit code {code}")


def _section(name: str) -> str:
    paths = sorted(RUNS.glob(f"{name}-[0-9]*"))
    folders = [RunFolder.open(path) for path in paths or SMOKE.glob(name)]
    summaries = [folder.summary() for folder in folders]
    columns = [f"seed {path.name.rpartition('-')[2]}" for path in paths] or ["smoke"] * len(folders)
    rows = list(dict.fromkeys(key for s in summaries for key in s.get("results", {})))
    lines = [f"## {name}", "", REGISTRY[name].summary + ".", ""]
    lines += _environment(folders)
    lines += ["| quantity | expected | " + " | ".join(columns) + " |"]
    lines += ["|---|---|" + "---|" * len(columns)]
    lines += [_row(key, summaries) for key in rows]
    seconds = [f"{s.get('seconds', {}).get('total', float('nan')):.0f} s" for s in summaries]
    lines += ["| wall time | | " + " | ".join(seconds) + " |", ""]
    notes = [note for s in summaries[:1] for note in s.get("notes", [])]
    return "\n".join([*lines, *(f"- {note}" for note in notes), ""])


def _row(key: str, summaries: list[dict]) -> str:
    cells, expected = [], ""
    for summary in summaries:
        row = summary.get("results", {}).get(key)
        if row is None:
            cells.append("not run")
            continue
        mark = " **MISSED**" if row["verdict"] == "MISSED" else ""
        cells.append(format_value(row["value"], row["error"]) + mark)
        if row["expected"] is not None:
            expected = f"{row['expected']:g} ({row.get('comparison', '')}; {row['source']})"
    return f"| {key} | {expected} | " + " | ".join(cells) + " |"


def _environment(folders: list[RunFolder]) -> list[str]:
    if not folders:
        return ["Not run yet.", ""]
    entry = folders[0].environment()[-1]
    told = {k: entry.get(k) for k in ("python", "cores", "dtype") if entry.get(k)}
    device = entry["devices"]["kind"]
    return [", ".join([f"device {device}", *(f"{k} {v}" for k, v in told.items())]) + ".", ""]


if __name__ == "__main__":
    main(sys.argv[1:])
