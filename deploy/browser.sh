#!/usr/bin/env bash
# The browser tests drive the system's Chromium, found as `chromium`; playwright's own download is not needed.
set -uo pipefail
cd "$(dirname "$0")/.."

find_browser() {
  command -v chromium >/dev/null && return
  local name
  for name in chromium-browser google-chrome-stable google-chrome; do
    if command -v "$name" >/dev/null; then
      ln -sf "$(command -v "$name")" .venv/bin/chromium # deploy/pytest.sh looks there first
      return
    fi
  done
  return 1
}

if find_browser; then exit 0; fi

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "browser: installing chromium (about a minute)"
  log=$(mktemp)
  if { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium fonts-dejavu-core; } >"$log" 2>&1 \
    && find_browser; then
    rm -f "$log"
    exit 0
  fi
  tail -n 15 "$log" >&2
fi
echo "The browser tests need Chromium and there is none. Debian: apt-get install chromium; otherwise put chromium or google-chrome on PATH." >&2
exit 1
