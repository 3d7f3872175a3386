#!/bin/bash
# SPDX-License-Identifier: MIT
# In a machine whose disk has the packages; those of two versions are in /packages/old and /packages/new.
set -u
# shellcheck source=lib.sh
. /scripts/lib.sh
release=$(uname -r)
old=$(dpkg-deb -f /packages/old/mitosis_*.deb Version)
new=$(dpkg-deb -f /packages/new/mitosis_*.deb Version)
UNLOAD=/usr/lib/mitosis/mitosis-unload

loaded() {
	cat /sys/module/"$1"/version 2> /dev/null || echo none
}

begin() {
	/scripts/machine.sh || exit 1
	verdict "modules that dkms has built elsewhere" "$(modules "$release")" "$(modules_expected "$old")"
}

# As at boot, where systemd and udev are.
boot() {
	/usr/lib/systemd/systemd-modules-load
	verdict "at boot mitosis is loaded" "$(loaded mitosis)" "$old"
	/usr/lib/systemd/systemd-udevd --daemon
	udevadm trigger --action=add /sys/class/infiniband/mlx5_0
	udevadm settle
	verdict "and where a ConnectX comes up mitosis_dct" "$(loaded mitosis_dct)" "$old"
}

# Back to a machine that has never seen the packages.
purge_first() {
	# shellcheck disable=SC2086 # a list of names
	apt_run purge $ALL_PACKAGES
	/scripts/machine.sh
	files > /tmp/before
}

# dkms takes what it has built from the same sources for the same kernel on a faster machine, in place of calling make.
built_elsewhere() {
	echo 'MAKE[0]="cp -r /packages/built/$PACKAGE_VERSION/$kernelver/. $dkms_tree/mitosis/$PACKAGE_VERSION/build/"' > /etc/dkms/mitosis.conf
}

install() {
	local begin=$SECONDS
	apt_run install /packages/old/*.deb
	echo "installed in $((SECONDS - begin)) s"
	verdict "dkms has built all modules" "$(modules "$release")" "$(modules_expected "$old")"
	verdict "the module is loaded" "$(loaded mitosis)" "$old"
	verdict "and that for ConnectX" "$(loaded mitosis_dct)" "$old"
	verdict "nothing is missing" "$(mitosis-cli check 2>&1)" "nothing is in the way"
}

# A process that waits, and a snapshot of it.
hold() {
	setsid sleep 1000 < /dev/null > /dev/null 2>&1 &
	mitosis-cli prepare --pid $! --name warm > /tmp/prepare.log 2>&1 || { cat /tmp/prepare.log; exit 1; }
}

refused() {
	local name=$1 pattern=$2
	apt_try remove mitosis mitosis-dkms
	verdict "$name: removal fails" $? 100
	verdict "$name: with a sentence" "$(grep -m 1 -o "^mitosis: $pattern" /tmp/apt.log)" "mitosis: $pattern"
	verdict "$name: and all is as it was" "$(dpkg-query -W -f '${db:Status-Status} ' mitosis mitosis-dkms)$(loaded mitosis)" "installed installed $3"
}

refused_source() {
	hold
	refused "memory is held" "this machine holds memory that others may need" "$old"
}

# With memory held, upgraded: the old module stays, says so, and holds.
upgrade() {
	local begin=$SECONDS id
	apt_run install /packages/new/*.deb
	echo "upgraded in $((SECONDS - begin)) s"
	verdict "upgrade: dkms has built all modules" "$(modules "$release")" "$(modules_expected "$new")"
	verdict "upgrade: the module that holds memory stays" "$(loaded mitosis)" "$old"
	verdict "upgrade: with a sentence" "$(grep -c "^mitosis: version $old of the module stays loaded" /tmp/apt.log)" 1
	id=$(mitosis-cli list | sed -n 's/^\([0-9a-f]*\)  warm .*/\1/p')
	mitosis-cli release "$id"
	pkill -x sleep
	$UNLOAD && modprobe mitosis
	verdict "upgrade: then the new one is loaded" "$(loaded mitosis)" "$new"
	verdict "upgrade: nothing is missing" "$(mitosis-cli check 2>&1)" "nothing is in the way"
}

# A child that misses memory, here.
refused_reader() {
	hold
	mitosis-cli resume warm > /tmp/resume.log 2>&1 || { cat /tmp/resume.log; exit 1; }
	refused "a process misses memory" "processes here" "$new"
	pkill -KILL -x sleep
	mitosis-cli release --all
}

# With nothing held the other version takes over at once, with the modules that were loaded. They are told apart by number only.
taken_over() {
	modprobe mitosis_tcp
	apt_run --allow-downgrades install /packages/old/*.deb
	verdict "another version is loaded at once" "$(loaded mitosis)" "$old"
	verdict "and mitosis_tcp with it" "$(loaded mitosis_tcp)" "$old"
}

gone() {
	for _ in $(seq 100); do
		mitosis-cli stats | grep -qE '^(attached|links|snapshots) *[1-9]' || break
		sleep 0.2
	done
	# shellcheck disable=SC2086
	apt_run remove $ALL_PACKAGES
	verdict "removal unloads the module" "$(loaded mitosis)" none
	verdict "and no module is left" "$(modules "$release")" ""
	apt_run purge mitosis
	verdict "what purging leaves" "$(files | comm -13 /tmp/before -)" ""
}

for step in "$@"; do
	$step
done
exit $failed
