#!/bin/bash
# SPDX-License-Identifier: MIT
# qemu-headers.sh DIR: the headers of the QEMU that is installed, from Debian's source package of the same version. Debian packs none, and
# its patches change structures, so the source is unpacked with them. The headers that QEMU's build makes of its QAPI schema are made here.
set -euo pipefail
# shellcheck source=../../scripts/rig/lib.sh
. "$(dirname "$(readlink -f "$0")")/../../scripts/rig/lib.sh"
out=$(realpath -m "$1")
version=$(dpkg-query -W -f='${source:Version}' qemu-system-x86)
[ "$(cat "$out/version" 2>/dev/null)" != "$version" ] || exit 0

mkdir -p "$(dirname "$out")"
tmp=$(mktemp -d "$(dirname "$out")/.qemu.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
# The machine's own Debian sources, for source packages, with lists of their own: the machine's configuration stays as it is.
: > "$tmp/none"
mkdir -p "$tmp/parts" "$tmp/lists/partial" "$tmp/src" "$tmp/out"
for f in /etc/apt/sources.list.d/*.sources; do
	[ ! -f "$f" ] || ! grep -q debian-archive-keyring "$f" || sed 's/^Types:.*/Types: deb-src/' "$f" > "$tmp/parts/${f##*/}"
done
cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | grep -E '^deb .*debian' | sed 's/^deb /deb-src /' \
	> "$tmp/parts/machine.list" || true
apt=(apt-get -q -o APT::Sandbox::User=root -o "Dir::Etc::SourceList=$tmp/none" -o "Dir::Etc::SourceParts=$tmp/parts"
	-o "Dir::State::Lists=$tmp/lists")
"${apt[@]}" update >&2 || die "lists of Debian's source packages could not be had: check this machine's package sources"
(cd "$tmp/src" && "${apt[@]}" source "qemu=$version" > "$tmp/log" 2>&1) || {
	tail -n 5 "$tmp/log" >&2
	die "Debian's source of qemu $version, which is installed, could not be had: upgrade qemu-system-x86 to a version that the archive has"
}
src=$(echo "$tmp"/src/qemu-*/)
cp -r "$src/include" "$tmp/out/"
PYTHONPATH=$src/scripts PYTHONDONTWRITEBYTECODE=1 python3 "$src/scripts/qapi-gen.py" -b -o "$tmp/gen" "$src/qapi/qapi-schema.json"
(cd "$tmp/gen" && find . -name '*.h' -exec cp --parents -t "$tmp/out/include/qapi" {} +)
# What its configure finds out on Debian, as far as headers ask for it.
printf '#define %s 1\n' CONFIG_POSIX CONFIG_LINUX CONFIG_IOVEC CONFIG_MODULES CONFIG_INT128 CONFIG_EVENTFD CONFIG_CPUID_H \
	HOST_X86_64 > "$tmp/out/include/config-host.h"
: > "$tmp/out/include/config-poison.h"
echo "$version" > "$tmp/out/version"
rm -rf "$out"
mv "$tmp/out" "$out"
