#!/bin/bash
# SPDX-License-Identifier: MIT
# tlshd.sh start|stop: the handshake daemon of ktls-utils, as its unit would, with Debian's configuration.
set -eu

case $1 in
start)
	! pidof -q tlshd || exit 0
	setsid -f /usr/sbin/tlshd -s < /dev/null >> /run/tlshd.log 2>&1
	# it listens
	for _ in $(seq 100); do
		[ -z "$(pidof tlshd)" ] || break
		sleep 0.1
	done
	;;
stop)
	kill "$(pidof tlshd)"
	while pidof -q tlshd; do
		sleep 0.1
	done
	;;
esac
