#!/usr/bin/env bash
# pytest where only loopback exists, if this machine allows to make such a place; tests/conftest.py audits connections either way.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH

# Everything goes side by side, with two workers more than a small machine has cores: the bot's tests wait more than they compute
# (tests/conftest.py). A few tests that somebody names begin sooner without workers.
if [ $# = 0 ]; then set -- -n 4; fi

alone=()
for candidate in "unshare --net" "unshare --net --map-root-user"; do
  # shellcheck disable=SC2086
  if $candidate sh -c 'ip link set lo up' 2>/dev/null; then
    read -ra alone <<<"$candidate"
    break
  fi
done
if [ ${#alone[@]} -gt 0 ]; then
  echo "pytest: in a network namespace of its own, where only loopback exists"
  # shellcheck disable=SC2016
  exec "${alone[@]}" sh -c 'ip link set lo up && exec .venv/bin/python -m pytest "$@"' pytest "$@"
fi
echo "pytest: this machine allows no network namespace, so the audit of connections alone shows that nothing dials out"
exec .venv/bin/python -m pytest "$@"
