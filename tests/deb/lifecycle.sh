# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# In the root: packages of two versions (/packages/old, /packages/new) are installed, upgraded, removed and purged, with dkms building for each kernel
# whose headers are there, and for one out of range.
set -u
# shellcheck source=lib.sh
. /scripts/lib.sh
FOREIGN=6.13.0-foreign-amd64
old=$(dpkg-deb -f /packages/old/mitosis_*.deb Version)
new=$(dpkg-deb -f /packages/new/mitosis_*.deb Version)

# For machines, where compiling takes half an hour.
keep() {
	local to=/packages/built/$2/$1 f
	mkdir -p "$to"
	for f in /usr/lib/modules/"$1"/updates/dkms/mitosis*; do
		cp "$f" "$to/"
	done
	[ ! -e "$to/mitosis.ko.xz" ] || xz -d "$to"/*.xz
}

kernels_verdict() {
	local k
	for k in /usr/lib/modules/*-amd64; do
		k=${k##*/}
		[ "$k" != $FOREIGN ] || continue
		verdict "$1: dkms has built all modules for $k" "$(modules "$k")" "$(modules_expected "$2")"
		keep "$k" "$2"
	done
	verdict "$1: a kernel out of range is left alone" "$(modules $FOREIGN)" ""
}

mkdir /usr/lib/modules/$FOREIGN
cp -a "$(find /usr/lib/modules -name build | sort -V | tail -n 1)" /usr/lib/modules/$FOREIGN/build
files > /tmp/before

apt_run install /packages/old/*.deb
kernels_verdict installation "$old"
verdict "the command's version" "$(mitosis-cli --version)" "mitosis-cli $old"
verdict "manual pages" "$(for p in 1/mitosis-cli.1 7/mitosis.7 3/libmitosis.3; do zcat /usr/share/man/man$p.gz | grep -c "mitosis $old"; done | paste -s)" "1	1	1"
verdict "criu's own configuration and plugins are as they were" \
	"$(dpkg -V criu; ls /etc/criu)" \
	"$(printf '%s.conf\n' mitosis-plugin mitosis)"
verdict "udev's rule" "$(udevadm verify /usr/lib/udev/rules.d/90-mitosis.rules 2>&1 | sed -n '/Success: *1$/p; /Fail: *[1-9]/p' | tr -d ' ')" Success:1
verdict "completion" "$(bash -c '. /usr/share/bash-completion/completions/mitosis-cli && complete -p mitosis-cli')" \
	"complete -F _mitosis_cli mitosis-cli"
# shellcheck disable=SC2046 # options
gcc-12 -o /tmp/parent /usr/share/doc/libmitosis-dev/examples/simple_parent.c $(pkg-config --cflags --libs libmitosis) > /tmp/gcc.log 2>&1
verdict "a program is built with the library" "$(cat /tmp/gcc.log; ldd /tmp/parent | sed -n 's/^\tlibmitosis.so.0 => \(.*\) (.*/\1/p')" \
	/lib/x86_64-linux-gnu/libmitosis.so.0

echo MITOSIS_LEASE=60 > /etc/criu/mitosis-plugin.conf
apt_run install /packages/new/*.deb
kernels_verdict upgrade "$new"
verdict "upgrade: what dkms knows of" "$(dkms status | sed -E 's/[,:].*//' | sort -u)" "mitosis/$new"
verdict "upgrade: sources" "$(ls -d /usr/src/mitosis-*)" "/usr/src/mitosis-$new"
verdict "upgrade: a changed setting stays" "$(cat /etc/criu/mitosis-plugin.conf)" MITOSIS_LEASE=60

# shellcheck disable=SC2086 # a list of names
apt_run remove $ALL_PACKAGES
files | comm -13 /tmp/before - | grep -vE '^/etc/criu(/mitosis.*\.conf)?$' > /tmp/left
verdict "what removal leaves beside settings" "$(cat /tmp/left)" ""
mkdir -p /var/lib/mitosis/x
apt_run purge mitosis
verdict "what purging leaves" "$(files | comm -3 /tmp/before -)" ""
exit $failed
