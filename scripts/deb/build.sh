#!/bin/bash
# SPDX-License-Identifier: MIT
# build.sh [VERSION]: Debian packages from what git knows of this tree, below build/deb/VERSION. With VERSION, another one than debian/changelog's.
# Criu's header comes from the machines' root where this Debian's libcriu-dev is older than the plugin needs.
set -euo pipefail
# shellcheck source=../rig/lib.sh
. "$(dirname "$(readlink -f "$0")")/../rig/lib.sh"
cd "$TOP"
version=${1:-$(dpkg-parsechangelog -S Version)}
OUT=$TOP/build/deb/$version
SRC=$OUT/mitosis-$version
export DEB_BUILD_OPTIONS=${DEB_BUILD_OPTIONS:-parallel=$(nproc) noautodbgsym}

rm -rf "$OUT"
mkdir -p "$SRC"
git ls-files -z | while IFS= read -r -d '' f; do
	[ ! -e "$f" ] || printf '%s\0' "$f"
done | tar --null -T - -cf - | tar -C "$SRC" -xf -
if [ "$version" != "$(dpkg-parsechangelog -S Version)" ]; then
	{ sed "1s/(.*)/($version)/; / -- /q" debian/changelog; echo; cat debian/changelog; } > "$SRC/debian/changelog"
fi
profile=()
if ! dpkg --compare-versions "$(dpkg-query -W -f='${Version}' libcriu-dev 2> /dev/null || echo 0)" ge 4.1; then
	profile=(-Ppkg.mitosis.criu-header)
	export CRIU_INCLUDE=$TOP/build/rig/sysroot/usr/include/criu
	make --no-print-directory rig
fi
cd "$SRC"
dpkg-buildpackage -us -uc "${profile[@]}" > "$OUT/build.log" 2>&1 ||
	die "the packages could not be built: $(grep -m 1 -iE 'error|unmet' "$OUT/build.log"), see $OUT/build.log"
rm -rf --one-file-system "$SRC"
