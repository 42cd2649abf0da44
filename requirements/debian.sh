#!/usr/bin/env bash
# What the tests need of Debian, one part a line, and its installation: `make system-packages`, and .ci/run.
# The one rule: it never fails. A part that can't be had is named here and by the tests that need it: they are skipped by name, or fail in CI.
set -uo pipefail

PARTS=(
  "postfix sasl2-bin libsasl2-modules openssl"      # test-mail: a mail server that only the tests start; certificates
  "chromium fonts-noto-cjk fonts-noto-color-emoji"  # test-pages: a browser, and letters for it
  "prometheus"                                      # test-ops: prometheus, and promtool for its rules; Debian also starts one, on port 9090
  "podman runc mmdebstrap"                          # test-ops: builds the image, on a base of Debian's packages, and runs it
)

lacking=()
for part in "${PARTS[@]}"; do
  # shellcheck disable=SC2086 - a part is several words
  dpkg -s $part >/dev/null 2>&1 || lacking+=("$part")
done
[ "${#lacking[@]}" = 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "Not a Debian: install by its own means what these are called there: ${lacking[*]}" >&2
elif [ "$(id -u)" != 0 ]; then
  echo "Not root. Run: sudo apt-get install --no-install-recommends ${lacking[*]}" >&2
else
  echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
  apt-get update -qq || true
  for part in "${lacking[@]}"; do
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $part >/dev/null \
      || echo "Not to be had now: $part" >&2
  done
fi
exit 0
