# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
# Sourced by the rig's scripts.

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
RIG=$TOP/build/rig
# Debian's own kernels that are supported; the newest of each series that the archive holds is taken.
KERNEL_SERIES="6.1 6.12"

die() {
	echo "${0##*/}: $*" >&2
	exit "${DIE_STATUS:-1}"
}

# kernel_source DIR [FILE...]: unpacks Debian's 6.12 source into DIR, all of it or only some files (patterns).
kernel_source() {
	local dir=$1 deb=$1.deb
	shift
	rm -rf "$deb"
	mkdir -p "$dir" "$deb"
	(cd "$deb" && apt-get -q -o APT::Sandbox::User=root download linux-source-6.12 >&2) ||
		die "Debian's linux-source-6.12 could not be fetched: run 'apt-get update' and again"
	dpkg-deb -x "$deb"/*.deb "$deb"
	tar -C "$dir" --strip-components=1 --wildcards -xf "$deb/usr/src/linux-source-6.12.tar.xz" "$@"
	rm -rf "$deb"
}

# Matches the plain amd64 flavour only: not -rt-, not -cloud-.
kernel_release_pattern() {
	echo "${1//./\\.}\\.[0-9][0-9.+a-z~]*(-[0-9]+)?-amd64"
}

# The kernel to boot is the one that modules can be built for: the newest with headers installed.
kernel_release_installed() {
	local pattern
	pattern=$(kernel_release_pattern "$1")
	find /usr/src -maxdepth 1 -name 'linux-headers-*-amd64' -printf '%f\n' |
		sed -nE "s/^linux-headers-($pattern)\$/\\1/p" | sort -V | tail -n 1
}
