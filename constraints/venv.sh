#!/bin/sh
# venv.sh PYTHON VENV WHAT: make or complete an environment with WHAT of this project in it.
set -eu
python=$1 venv=$2 what=$3
if [ -z "$python" ]; then
  echo "make: no Python >= 3.11 found: install one, or write make PYTHON=/path/to/python3.11" >&2
  exit 2
fi
case "$(pwd)" in *" "*)
  echo "make: the path '$(pwd)' has a space, which make cannot handle: move the clone" >&2
  exit 2 ;;
esac
version=$("$python" -c 'import sys; print("%d%d" % sys.version_info[:2])')
if [ "$version" -lt 311 ]; then
  echo "make: $python is Python ${version#3}, expected 3.11 or newer: make PYTHON=python3.11" >&2
  exit 2
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  echo "make: $python has no venv module: install the system package python3-venv" >&2
  exit 2
fi
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
file=constraints/py$version.txt
if [ -f "$file" ]; then
  set -- -c "$file"
else
  echo "make: no $file: newest versions are installed, untested" >&2
  set --
fi
echo "installing into $venv (a minute or two, once)"
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet "$@" -e "$what"
