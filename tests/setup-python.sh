#!/bin/sh
# Makes the virtual environment that the lab's Python exporters run in. Idempotent: does nothing when the
# requirements have not changed since the last run. Needs python3 with venv, and pip's package index.
#
# usage: tests/setup-python.sh [VENV]        (default: target/lab-venv)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:-$here/../target/lab-venv}
wanted=$here/requirements.txt
if cmp -s "$wanted" "$venv/requirements.txt"; then
    exit 0
fi
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check -r "$wanted"
# Last, so that an interrupted run starts over.
cp "$wanted" "$venv/requirements.txt"
