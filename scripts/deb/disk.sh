#!/bin/bash
# SPDX-License-Identifier: MIT
# disk.sh VERSION: build/deb/installed.img, a disk for the rig's machines on which these packages are installed. Modules are on another disk there, where
# machine.sh puts them.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"
root_make
stamp=$(cat "$DEB/$1"/*.deb "$ROOT.stamp" | sha256sum)
[ "$(cat "$DEB/installed.stamp" 2> /dev/null)" != "$stamp" ] || exit 0
rm -f "$DEB/installed.stamp"
root_run "$TOP/scripts/deb/install.sh" "$DEB/$1" "$DEB/installed.img" > "$DEB/installed.log" 2>&1 ||
	die "the packages could not be installed: see $DEB/installed.log"
echo "$stamp" > "$DEB/installed.stamp"
