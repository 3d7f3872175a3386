#!/bin/bash
# SPDX-License-Identifier: MIT
# Makes what the rig boots: build/rig/{root.img,sysroot,keys,kernel-*}. Each part is made beside its place and moved there when
# complete, with a stamp of what it was made from, so that an interrupted run leaves nothing half-made in use.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
HERE=$TOP/scripts/rig

# Nothing in a guest runs on real hardware: these are most of a kernel's modules by size.
UNUSED_MODULES="sound net/wireless net/mac80211 net/bluetooth drivers/gpu drivers/media drivers/staging drivers/iio drivers/hid
drivers/input drivers/usb drivers/bluetooth drivers/net/wireless drivers/scsi drivers/ata drivers/mfd
drivers/hwmon drivers/platform drivers/mtd drivers/isdn drivers/video drivers/thunderbolt drivers/leds drivers/power"

mkdir -p "$RIG"
exec 9> "$RIG/.lock"
flock 9
tmp=
cleanup() {
	[ -z "$tmp" ] || rm -rf --one-file-system "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

stamp_is() {
	[ "$(cat "$RIG/$1.stamp" 2>/dev/null)" = "$2" ]
}

# build_part NAME STAMP FUNCTION ARG...: FUNCTION fills $tmp/NAME...
build_part() {
	local name=$1 stamp=$2
	shift 2
	stamp_is "$name" "$stamp" && return
	echo "rig: making $name" >&2
	tmp=$(mktemp -d "$RIG/.tmp.XXXXXX")
	chmod 755 "$tmp"
	"$@"
	rm -f "$RIG/$name.stamp"
	local f
	for f in "$tmp"/out/*; do
		rm -rf --one-file-system "${RIG:?}/${f##*/}"
		mv "$f" "$RIG/${f##*/}"
	done
	echo "$stamp" > "$RIG/$name.stamp"
	cleanup
	tmp=
}

# hash_of FUNCTION... -- FILE...: of what makes a part and what it is made from.
hash_of() {
	local f=()
	while [ "$1" != -- ]; do
		f+=("$1")
		shift
	done
	shift
	{ declare -f "${f[@]}"; cat /dev/null "$@"; } | sha256sum | cut -c 1-32
}

# disk_make DIR IMAGE SIZE: sparse, and with its tables written out, so that the guest's kernel does not do it at each boot.
disk_make() {
	truncate -s "$3" "$2"
	mkfs.ext4 -q -F -d "$1" -m 0 -N 131072 -E lazy_itable_init=0,lazy_journal_init=0 "$2"
}

root_build() {
	local opts=() x
	for x in man doc locale info lintian; do
		opts+=("--dpkgopt=path-exclude=/usr/share/$x/*")
	done
	mkdir "$tmp/out"
	# No mirror named: mmdebstrap takes Debian's and checks it against the release's own keys.
	mmdebstrap --quiet --variant=minbase --include="$(grep -v '^#' "$HERE/packages" | paste -s -d ,)" \
		"${opts[@]}" --dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--dpkgopt='path-include=/usr/share/doc/rdma-core/tests/*' trixie "$tmp/root" >&2 ||
		die "the guests' root could not be made from Debian 13: see mmdebstrap's message above"
	mkdir -p "$tmp/out/sysroot/usr/include" "$tmp/root/usr/lib/modules"
	# python3-pyverbs' own tests
	find "$tmp/root/usr/share/doc/rdma-core/tests" -name '*.gz' -exec gunzip {} +
	cp -a "$tmp/root/usr/include/criu" "$tmp/out/sysroot/usr/include/"
	cp "$tmp/root/var/lib/dpkg/status" "$tmp/out/root.packages"
	rm -rf "$tmp"/root/var/lib/apt/lists/* "$tmp"/root/var/cache/apt/*.bin "$tmp"/root/etc/ssh/ssh_host_*
	disk_make "$tmp/root" "$tmp/out/root.img" 8G
}

keys_build() {
	mkdir -p "$tmp/out/keys"
	ssh-keygen -q -t ed25519 -N '' -C rig -f "$tmp/out/keys/id_ed25519"
	ssh-keygen -q -t ed25519 -N '' -C rig-host -f "$tmp/out/keys/ssh_host_ed25519_key"
}

# modules_finish ROOT RELEASE OUT: disk and boot modules from the modules in ROOT.
modules_finish() {
	local root=$1 release=$2 out=$3 f
	depmod -b "$root" "$release"
	mkdir -p "$out/m"
	for f in virtio_pci virtio_blk virtio_net ext4 crc32c_generic crc32c-intel; do
		modprobe -d "$root" -S "$release" --show-depends "$f" 2>/dev/null || true
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' > "$out/m/needed"
	while read -r f; do
		case $f in
		*.xz) xz -dc "$f" > "$out/m/$(basename "$f" .xz)" ;;
		*) cp "$f" "$out/m/" ;;
		esac
		basename "$f" .xz
	done < "$out/m/needed" > "$out/mods.list"
	rm "$out/m/needed"
	disk_make "$root/lib/modules" "$out/modules.img" 1G
	echo "$release" > "$out/release"
}

kernel_build() {
	local series=$1 release=$2 out=$tmp/out/kernel-$1 m
	mkdir -p "$out"
	(cd "$tmp" && apt-get -q -o APT::Sandbox::User=root download "linux-image-$release" >&2) ||
		die "Debian's kernel $release could not be fetched: run scripts/rig/deps.sh --update and again"
	mkdir "$tmp/k"
	dpkg-deb -x "$tmp"/linux-image-*.deb "$tmp/k"
	# Newer packages have it below usr/.
	[ -d "$tmp/k/lib/modules" ] || mv "$tmp/k/usr/lib" "$tmp/k/lib"
	for m in $UNUSED_MODULES; do
		rm -rf "$tmp/k/lib/modules/$release/kernel/$m"
	done
	find "$tmp/k/lib/modules/$release/kernel/drivers/net/ethernet" -mindepth 1 -maxdepth 1 ! -name mellanox \
		-exec rm -rf {} +
	rm -f "$tmp/k/lib/modules/$release"/{build,source}
	cp "$tmp/k/boot/vmlinuz-$release" "$out/vmlinuz"
	cp "$tmp/k/boot/config-$release" "$out/config"
	ln -s "/usr/src/linux-headers-$release" "$out/kdir"
	modules_finish "$tmp/k" "$release" "$out"
}

# Small and often changed: the rig's own files travel in here and not in the root disk.
initrd_build() {
	local series=$1 k=$RIG/kernel-$1 t=$tmp/i o=$tmp/i/overlay
	mkdir -p "$t/bin" "$o/etc/ssh" "$o/etc/modprobe.d" "$o/usr/local/sbin" "$tmp/out"
	cp /bin/busybox "$t/bin/"
	cp -r "$k/m" "$k/mods.list" "$t/"
	install -m 755 "$HERE/guest/initramfs-init" "$t/init"
	install -m 755 "$HERE/guest/rig-init" "$o/usr/local/sbin/"
	install -m 644 "$HERE/guest/inittab" "$o/etc/"
	install -m 644 "$HERE/guest/modprobe.conf" "$o/etc/modprobe.d/rig.conf"
	install -m 644 "$HERE"/guest/ssh{,d}_config "$RIG/keys/ssh_host_ed25519_key.pub" "$o/etc/ssh/"
	install -m 600 "$RIG/keys/ssh_host_ed25519_key" "$o/etc/ssh/"
	install -d -m 700 "$o/root" "$o/root/.ssh"
	install -m 600 "$RIG/keys/id_ed25519" "$o/root/.ssh/"
	install -m 600 "$RIG/keys/id_ed25519.pub" "$o/root/.ssh/authorized_keys"
	(cd "$t" && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1) > "$tmp/out/initrd-$series"
}

kernel_parts() {
	local series=$1 build=$2 stamp
	if [ "$series" != debug ]; then
		stamp="$build $(hash_of kernel_build modules_finish disk_make --) $(md5sum <<< "$UNUSED_MODULES")"
		build_part "kernel-$series" "$stamp" kernel_build "$series" "$build"
	fi
	stamp="$(cat "$RIG/kernel-$series.stamp") $(hash_of initrd_build -- "$HERE"/guest/* "$RIG"/keys/*)"
	build_part "initrd-$series" "$stamp" initrd_build "$series"
}

# For debug-kernel.sh, whose modules get the same treatment.
if [ "${1:-}" = --modules ]; then
	modules_finish "$2" "$3" "$4"
	exit
fi

build_part root "$(hash_of root_build disk_make -- "$HERE/packages")" root_build
build_part keys 1 keys_build
for s in $KERNEL_SERIES; do
	release=$(kernel_release_installed "$s")
	[ -n "$release" ] || die "no kernel headers $s are installed: run scripts/rig/deps.sh"
	kernel_parts "$s" "$release"
done
[ ! -f "$RIG/kernel-debug.stamp" ] || kernel_parts debug -
