#!/bin/sh
# The tests run a real Mosquitto, PostgreSQL, libfaketime, callgrind and SIPp. Installs them as root in CI, or on consent; else prints the line to type.
set -eu
missing=
PATH="$PATH:/usr/sbin:/usr/local/sbin"
for folder in /usr/lib/postgresql/*/bin; do PATH="$PATH:$folder"; done  # where Debian keeps initdb
for pair in mosquitto:mosquitto initdb:postgresql faketime:faketime valgrind:valgrind sipp:sip-tester; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0
line="apt-get update && apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" = 0 ] && [ "${CI:-}" = true ]; then
  eval "$line"
  exit 0
fi
if [ "$(id -u)" = 0 ] && [ -t 0 ]; then
  printf 'The tests need%s. Install now? [y/N] ' "$missing"
  read -r answer
  case "$answer" in [yYjJ]*) eval "$line"; exit 0 ;; esac
fi
echo "The tests need system packages that are missing. Type: sudo sh -c '$line'" >&2
exit 2
