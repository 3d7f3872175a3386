# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034
# Sourced where the packages are installed.
export DEBIAN_FRONTEND=noninteractive
ALL_PACKAGES="mitosis mitosis-dkms libmitosis0 libmitosis-dev"

# verdict NAME ACTUAL WANTED: a line for each test; the last status is in failed.
failed=0
verdict() {
	if [ "$2" = "$3" ]; then
		echo "ok packages: $1"
	else
		echo "not ok packages: $1: the answer is '$2', not '$3'"
		failed=1
	fi
}

# What it says is in /tmp/apt.log.
apt_try() {
	timeout 2400 apt-get -q -y --no-install-recommends -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" > /tmp/apt.log 2>&1
}

apt_run() {
	apt_try "$@" || {
		cat /tmp/apt.log
		tail -n 30 /var/lib/dkms/mitosis/*/build/make.log
		echo "not ok packages: apt-get $1 fails"
		exit 1
	}
}

# What is there, but for what dpkg, apt and dkms keep for themselves.
files() {
	find / -xdev \( -path /proc -o -path /dev -o -path /sys -o -path /tmp -o -path /root -o -path /packages -o -path /scripts -o \
		-path /var/log -o -path /var/cache -o -path /var/lib/dpkg -o -path /var/lib/apt \) -prune -o -print |
		grep -vE '^/(etc/ld.so.cache|usr/lib/modules/[^/]*/modules\.[a-z.]+|var/lib/dkms/mok\..*)$' | sort
}

# The modules of a kernel that dkms has put in place, and of what version they are.
modules() {
	local f
	for f in /usr/lib/modules/"$1"/updates/dkms/mitosis*; do
		[ ! -e "$f" ] || echo "$(basename "$f" | sed 's/\.ko.*//') $(modinfo -F version "$f")"
	done | sort
}

# What they should be.
modules_expected() {
	sed -nE "s/^obj-m *[+:]?= *(.*)\.o\$/\1 $1/p" /usr/src/mitosis-"$1"/Kbuild | sort
}
