#!/bin/bash
# SPDX-License-Identifier: MIT
# Unloads the modules; 1: something uses them.
for m in mitosis_dct mitosis_tcp mitosis_rc; do
	[ ! -d "/sys/module/$m" ] || rmmod "$m" || exit 1
done
rmmod mitosis
