#!/bin/sh
# freeze.sh PYTHON: write constraints/pyXY.txt from a fresh environment; names and versions only.
set -eu
python=$1
version=$("$python" -c 'import sys; print("%d%d" % sys.version_info[:2])')
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --disable-pip-version-check --quiet -e '.[dev]'
"$folder/venv/bin/python" -m pip freeze --exclude-editable --all |
  grep -viE '^(pip|setuptools|wheel|pushforward)([ =@]|$)' > "$folder/list"
if grep -E '@|://' "$folder/list"; then
  echo "freeze: a line with an address, refused" >&2
  exit 1
fi
mv "$folder/list" "constraints/py$version.txt"
echo "wrote constraints/py$version.txt"
