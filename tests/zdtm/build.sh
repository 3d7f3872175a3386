#!/bin/bash
# SPDX-License-Identifier: MIT
# Fetches the tests of the CRIU that the machines have, from Debian, and builds them below build/zdtm/.
set -euo pipefail
# shellcheck source=../../scripts/rig/lib.sh
. "$(dirname "$0")/../../scripts/rig/lib.sh"
ZDTM=$TOP/build/zdtm
mkdir -p "$ZDTM"
exec 9> "$ZDTM/.lock"
flock 9

# The archive that this machine's own package sources name, with the release that the machines have.
archive_find() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1
}

# Only the upstream archive is wanted, and apt checks it against the release's signed lists.
source_fetch() {
	local apt=$ZDTM/apt archive
	archive=$(archive_find)
	[ -n "$archive" ] || die "no package source of Debian is known to apt: add one and run 'apt-get update'"
	rm -rf "$apt"
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/parts"
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive trixie main" > "$apt/sources.list"
	cat > "$apt/conf" <<-END
		Dir::Etc::SourceList "$apt/sources.list";
		Dir::Etc::SourceParts "$apt/parts";
		Dir::State::Lists "$apt/lists";
		Dir::Cache "$apt/cache";
		APT::Sandbox::User "root";
	END
	(cd "$apt" && APT_CONFIG=$apt/conf apt-get -q update && APT_CONFIG=$apt/conf apt-get -q --tar-only source criu) >&2 ||
		die "the source of criu could not be fetched: see apt-get's message above"
	rm -rf "$ZDTM/src" "$ZDTM/src.new"
	mkdir "$ZDTM/src.new"
	tar -C "$ZDTM/src.new" --strip-components=1 -xf "$apt"/criu_*.orig.tar.*
	mv "$ZDTM/src.new" "$ZDTM/src"
}

version=$(awk '/^Package: / { p = $2 } /^Version: / && p == "criu" { print $2 }' "$RIG/root.packages")
stamp="$version $(declare -f source_fetch | sha256sum | cut -c 1-32)"
if [ "$(cat "$ZDTM/src.stamp" 2>/dev/null)" != "$stamp" ]; then
	source_fetch
	grep -qx "CRIU_VERSION_MAJOR.*" "$ZDTM/src/Makefile.versions" || die "what was fetched is not CRIU: see $ZDTM/src"
	echo "$stamp" > "$ZDTM/src.stamp"
fi

# Tests for which a library is missing here are left out; cases.py says so of each.
make -C "$ZDTM/src/test/zdtm" -k -j"$(nproc)" lib static transition > "$ZDTM/build.log" 2>&1 || true
[ -x "$ZDTM/src/test/zdtm/static/env00" ] || die "CRIU's tests do not build: see $ZDTM/build.log"

# What a machine gets: each program without its debug information, its files beside it.
out=$ZDTM/payload/root/zdtm
rm -rf "$ZDTM/payload"
for d in static transition; do
	mkdir -p "$out/$d"
	make -s -n -k -C "$ZDTM/src/test/zdtm/$d" start 2> /dev/null | grep -E '^\./[^ ]+ --pidfile=' | sort -u > "$ZDTM/$d.start"
	while read -r program _; do
		[ ! -x "$ZDTM/src/test/zdtm/$d/$program" ] || strip -o "$out/$d/$program" "$ZDTM/src/test/zdtm/$d/$program"
	done < "$ZDTM/$d.start"
	find "$ZDTM/src/test/zdtm/$d" -name '*.checkskip' -exec cp {} "$out/$d/" \;
done
cp "$TOP/tests/zdtm/guest.sh" "$out/"
