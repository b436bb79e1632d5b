#!/bin/sh
# Installs what tests/contract/test_openapi.py and test_ccusage.py need from npm, outside the source tree.
#   folder: $SESSIOND_NODE_CACHE, else ~/.cache/sessiond-node
# Without npm or network it says so and exits 0: those tests skip.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${SESSIOND_NODE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sessiond-node}

if cmp -s "$here/package.json" "$cache/installed.json"; then
    echo "contract checks: already in $cache"
    exit 0
fi
if ! command -v npm >/dev/null 2>&1; then
    echo "contract checks: npm is not installed; those tests will be skipped"
    exit 0
fi
mkdir -p "$cache"
rm -f "$cache/installed.json"
cp "$here/package.json" "$cache/package.json"
limit=""
if command -v timeout >/dev/null 2>&1; then limit="timeout ${SESSIOND_NODE_TIMEOUT_S:-420}"; fi
# shellcheck disable=SC2086  # empty, or two words
if $limit npm install --prefix "$cache" --ignore-scripts --no-audit --no-fund \
    --no-package-lock --no-update-notifier --loglevel=error; then
    # Written last: a half-finished install never counts.
    cp "$here/package.json" "$cache/installed.json"
    echo "contract checks: installed in $cache"
else
    echo "contract checks: npm could not install (offline?); those tests will be skipped"
fi
