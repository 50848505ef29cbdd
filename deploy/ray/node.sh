#!/usr/bin/env bash
# This GPU host as a node of a Ray cluster, in the foreground (see README.md here).
#
#   deploy/ray/node.sh head               the first host; jobs are taken at http://$HOST:8265 (without HOST: http://127.0.0.1:8265)
#   deploy/ray/node.sh join HEAD:6379     every other host
#
# HOST=...  this host's address on the private network; without it the cluster is for this host alone
# The cluster's token is in ~/.ray/auth_token, made by the first host: every other host needs a copy, and the bot's host its content.
# What follows goes to `ray start`.
set -euo pipefail
HOST=${HOST:-127.0.0.2} # loopback, too; for 127.0.0.1 Ray takes the address that other hosts see, and listens there
PATH=$(cd "$(dirname "$0")/../.." && pwd)/.venv/bin:$PATH # jobs are started as `python`
export PATH

# No telemetry. Ray 2.60 reports even that it must not report, and asks who its cloud is unless it finds its own file.
export RAY_USAGE_STATS_ENABLED=0
export RAY_USAGE_STATS_REPORT_URL=http://127.0.0.1:9/
[ -e ~/ray_bootstrap_config.yaml ] || echo '{}' >~/ray_bootstrap_config.yaml

# Ray listens on every interface whatever it is told, and runs what it is sent: nobody is heard without the token.
export RAY_AUTH_MODE=${RAY_AUTH_MODE:-token}
token=${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}

case ${1:-} in
  head)
    where=(--head --dashboard-host="${HOST/#127.*/127.0.0.1}")
    if [ -z "${RAY_AUTH_TOKEN:-}" ] && [ ! -s "$token" ]; then
      (umask 077 && mkdir -p "$(dirname "$token")" && od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$token")
    fi
    ;;
  join) where=(--address="${2:?join whom? HEAD:6379}") && shift ;;
  *) sed -n '2,10s/^# \?//p' "$0" && exit 2 ;;
esac
shift
# Jobs need next to nothing of Ray's shared memory: datasets and adapters go through the storage.
exec ray start "${where[@]}" --node-ip-address="$HOST" --object-store-memory=80000000 --disable-usage-stats --block "$@"
