#!/bin/bash
# SPDX-License-Identifier: MIT
# root.sh OLD NEW: lifecycle.sh with packages of two versions, which build.sh has built; both are left in build/deb/both, with what dkms has built.
set -euo pipefail
# shellcheck source=../../scripts/deb/lib.sh
. "$(dirname "$(readlink -f "$0")")/../../scripts/deb/lib.sh"
root_make
rm -rf "$DEB/both"
mkdir -p "$DEB/both/old" "$DEB/both/new"
ln "$DEB/$1"/*.deb "$DEB/both/old/"
ln "$DEB/$2"/*.deb "$DEB/both/new/"
root_run "$TOP/tests/deb/lifecycle.sh" "$DEB/both"
