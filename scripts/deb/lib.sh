# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Sourced by what installs the packages: a root of Debian 13 as the machines', with dkms, a compiler and headers of their kernels.

# shellcheck source=../rig/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib.sh"
DEB=$TOP/build/deb
ROOT=$DEB/root
# What their dependencies need, which have to be there already, and with what a program is built with the library.
ROOT_PACKAGES=dkms,gcc-12,make,pahole,openssl,libc6-dev,libnl-3-dev,libnl-genl-3-dev,pkgconf

root_headers() {
	local s release d=usr/src/linux-headers
	for s in $KERNEL_SERIES; do
		release=$(kernel_release_installed "$s")
		tar -C / -cf - "$d-$release" "$d-${release%-amd64}-common" "usr/lib/$(readlink "/$d-$release/scripts" | cut -d / -f 4)" |
			tar -C "$1" -xf -
		mkdir -p "$1/usr/lib/modules/$release"
		ln -s "/$d-$release" "$1/usr/lib/modules/$release/build"
	done
}

# Made anew when the machines' packages or kernels change.
root_make() {
	local stamp tmp
	stamp=$({ declare -f root_make root_headers; echo "$ROOT_PACKAGES"; cat "$TOP/scripts/rig/packages"; for s in $KERNEL_SERIES; do kernel_release_installed "$s"; done; } | sha256sum)
	[ "$(cat "$ROOT.stamp" 2> /dev/null)" != "$stamp" ] || return 0
	echo "deb: making a root to install packages in" >&2
	rm -rf --one-file-system "$ROOT" "$ROOT.stamp"
	mkdir -p "$DEB"
	tmp=$(mktemp -d "$DEB/.root.XXXXXX")
	chmod 755 "$tmp"
	mmdebstrap --quiet --variant=minbase --include="$(grep -v '^#' "$TOP/scripts/rig/packages" | paste -s -d ,),$ROOT_PACKAGES" \
		trixie "$tmp" >&2 || die "a root of Debian 13 could not be made: see mmdebstrap's message above"
	root_headers "$tmp"
	rm -rf "$tmp"/var/lib/apt/lists/* "$tmp"/var/cache/apt/*.bin "$tmp"/etc/ssh/ssh_host_*
	mv "$tmp" "$ROOT"
	echo "$stamp" > "$ROOT.stamp"
}

# root_run SCRIPT PACKAGES [IMAGE]: runs a script, whose directory is /scripts there, in a copy of the root that is thrown away, with directory PACKAGES
# as /packages; or makes a disk of what it leaves.
root_run() {
	local work rc=0
	work=$(mktemp -d "$DEB/.run.XXXXXX")
	# shellcheck disable=SC2016 # expanded there
	unshare -m bash -euc '
		mount -t tmpfs -o size=2G work "$0"
		mkdir "$0/upper" "$0/work" "$0/merged"
		mount -t overlay -o "lowerdir=$1,upperdir=$0/upper,workdir=$0/work" overlay "$0/merged"
		cd "$0/merged"
		mkdir packages scripts
		mount --bind "$3" packages
		mount --bind "${2%/*}" scripts
		mount --rbind /dev dev
		mount -t proc proc proc
		env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive chroot . bash "/scripts/${2##*/}"
		[ -n "$4" ] || exit 0
		umount -l packages scripts dev proc
		rmdir packages scripts
		truncate -s 8G "$4.new"
		mkfs.ext4 -q -F -d . -m 0 -N 262144 -E lazy_itable_init=0,lazy_journal_init=0 "$4.new"
		mv "$4.new" "$4"
	' "$work" "$ROOT" "$(realpath "$1")" "$(realpath "$2")" "${3:-}" || rc=$?
	rmdir "$work"
	return $rc
}
