#!/bin/bash
# SPDX-License-Identifier: MIT
# Installs what the project is built, checked and tested with. With --update, newer kernel headers are taken too.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

PACKAGES="
gcc make pkg-config flex bison bc libelf-dev libssl-dev kmod rsync cpio xz-utils zstd
libnl-3-dev libnl-genl-3-dev protobuf-c-compiler libprotobuf-c-dev libcap-dev libcunit1-dev libjson-c-dev
librdmacm-dev libibverbs-dev sparse clang clang-tidy shellcheck cppcheck
libglib2.0-dev dpkg-dev debhelper dh-dkms lintian
qemu-system-x86 qemu-utils mmdebstrap debian-archive-keyring busybox-static e2fsprogs openssh-client socat python3 python3-prometheus-client gnuplot-nox
"
TRIXIE_KEY=/usr/share/keyrings/debian-archive-trixie-stable.gpg

package_is_installed() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The sanitizers' run time stands in a package named after the compiler's version.
clang_runtime_package() {
	dpkg-query -W -f='${Depends}' clang 2>/dev/null | sed -nE 's/.*clang-([0-9]+).*/libclang-rt-\1-dev/p'
}

all_is_there() {
	local p s
	for p in $PACKAGES; do
		package_is_installed "$p" || return 1
	done
	p=$(clang_runtime_package)
	[ -z "$p" ] || package_is_installed "$p" || return 1
	for s in $KERNEL_SERIES; do
		[ -n "$(kernel_release_installed "$s")" ] || return 1
	done
	[ -s $TRIXIE_KEY ]
}

lists_refresh() {
	if [ -z "$(find /var/lib/apt/lists -name '*_InRelease' -mmin -720 2>/dev/null)" ]; then
		apt-get -q update >&2 ||
			die "package lists could not be refreshed: check this machine's package sources"
	fi
}

# Image and headers are published one after the other: take the newest version that has both.
kernel_release_newest() {
	local pattern
	pattern=$(kernel_release_pattern "$1")
	comm -12 <(apt-cache pkgnames linux-headers- | sed -nE "s/^linux-headers-($pattern)\$/\\1/p" | sort) \
		<(apt-cache pkgnames linux-image- | sed -nE "s/^linux-image-($pattern)\$/\\1/p" | sort) |
		sort -V | tail -n 1
}

packages_install() {
	DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "$@" >&2 ||
		die "packages could not be installed ($*): see apt-get's message above"
}

[ "${1:-}" = --update ] || ! all_is_there || exit 0
[ "$(id -u)" = 0 ] || die "packages are missing and only root can install them: run it as root"
lists_refresh
wanted=$PACKAGES
for s in $KERNEL_SERIES; do
	release=$(kernel_release_newest "$s")
	[ -n "$release" ] || die "no kernel $s is in the package lists: add Debian 12 and its security updates"
	wanted+=" linux-headers-$release"
done
# shellcheck disable=SC2086 # a list of names
packages_install $wanted
runtime=$(clang_runtime_package)
[ -z "$runtime" ] || packages_install "$runtime"
[ -s $TRIXIE_KEY ] || die "Debian 13's archive keys are missing: upgrade debian-archive-keyring"
