#!/bin/bash
# SPDX-License-Identifier: MIT
# lintian.sh CHANGES: no error and no warning.
set -u
if out=$(lintian --allow-root --fail-on error,warning "$@"); then
	echo "ok packages: lintian"
else
	echo "not ok packages: lintian"
	sed 's/^/  | /' <<< "$out"
	exit 1
fi
