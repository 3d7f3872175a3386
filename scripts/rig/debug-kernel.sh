#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds the kernel `debug` out of Debian's own 6.12 source with debug-kernel.config: the checks that no distribution's kernel has on.
# It takes about a quarter of an hour on two processors; an interrupted build goes on where it was. Afterwards build/rig/kernel-debug
# holds what the other kernels' directories hold, and a tree (kdir) that modules can be built against.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
HERE=$TOP/scripts/rig
JOBS=${JOBS:-$(nproc)}

mkdir -p "$RIG"
exec 7> "$RIG/.debug-kernel.lock"
flock 7

version=$(apt-cache show --no-all-versions linux-source-6.12 2>/dev/null | sed -nE 's/^Version: (.*)/\1/p')
stamp="$version $(sha256sum < "$HERE/debug-kernel.config" | cut -c 1-32)"
# Without package lists what is there already still serves.
if [ -z "$version" ]; then
	[ -s "$RIG/kernel-debug.stamp" ] || die "Debian's linux-source-6.12 is not in the package lists: run 'apt-get update'"
	stamp="$(cut -d ' ' -f 1 "$RIG/kernel-debug.stamp") ${stamp##* }"
fi
if [ "$(cat "$RIG/kernel-debug.stamp" 2>/dev/null)" = "$stamp" ]; then
	exec "$HERE/build.sh"
fi

work=$RIG/kernel-debug.work
if [ "$(cat "$work/stamp" 2>/dev/null)" != "$stamp" ]; then
	echo "rig: unpacking the debug kernel's source" >&2
	rm -rf "$work"
	kernel_source "$work/kernel/tree"
	echo "$stamp" > "$work/stamp"
fi

tree=$work/kernel/tree
log=$work/log
run() {
	nice -n 19 make -C "$tree" "$@" >> "$log" 2>&1 7>&- || die "the debug kernel could not be built: see the end of $log"
}
: > "$log"
if [ ! -f "$work/configured" ]; then
	run tinyconfig
	(cd "$tree" && scripts/kconfig/merge_config.sh -m .config "$HERE/debug-kernel.config") >> "$log" 2>&1
	run olddefconfig
	# A line that was not taken is a check that silently is not there.
	missing=$(grep -E '^CONFIG_' "$HERE/debug-kernel.config" | grep -vxFf "$tree/.config" || true)
	[ -z "$missing" ] || die "the kernel did not take these lines of debug-kernel.config, correct them: $(paste -s -d ' ' <<< "$missing")"
	touch "$work/configured"
fi
echo "rig: building the debug kernel, see $log" >&2
run -j "$JOBS" bzImage modules
rm -rf "$work/root"
run INSTALL_MOD_PATH="$work/root" modules_install

out=$work/kernel
cp "$tree/arch/x86/boot/bzImage" "$out/vmlinuz"
cp "$tree/.config" "$out/config"
cp "$tree/System.map" "$out/System.map"
ln -sfn tree "$out/kdir"
rm -rf "$out/m"
"$HERE/build.sh" --modules "$work/root" "$(cat "$tree/include/config/kernel.release")" "$out"

# What is half thinned out cannot be gone on with.
rm "$work/stamp"
# Modules need headers, Kbuild's tools and Module.symvers; the rest is two gigabytes.
(
	cd "$tree"
	rm -rf Documentation samples vmlinux vmlinux.* .tmp_vmlinux* .vmlinux* modules-only.symvers
	find arch block certs crypto drivers fs init io_uring ipc kernel lib mm net security sound usr virt rust \
		\( -name '*.[acoS]' -o -name '*.ko' -o -name '.*.cmd' -o -name '*.mod' -o -name '*.dts*' \) -type f -delete
	find . -type d -empty -delete
) 2>/dev/null || true
rm -rf "$RIG/kernel-debug.stamp" "$RIG/kernel-debug"
mv "$out" "$RIG/kernel-debug"
echo "$stamp" > "$RIG/kernel-debug.stamp"
rm -rf "$work"
exec "$HERE/build.sh"
