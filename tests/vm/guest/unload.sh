#!/bin/bash
# SPDX-License-Identifier: MIT
# Unloads the modules; 1: something uses them.
[ ! -d /sys/module/mitosis_dct ] || rmmod mitosis_dct || exit 1
rmmod mitosis
