#!/bin/bash
# SPDX-License-Identifier: MIT
# man.sh MITOSIS-CLI: what the program's --help names, its manual page and its bash completion name as well; and --help leaves nothing away.
set -eu
cd "$(dirname "$(readlink -f "$0")")/.."
CLI=$1
PAGE=docs/man/mitosis-cli.1
failed=0
# shellcheck source=../cli/mitosis-cli.bash-completion
. cli/mitosis-cli.bash-completion

verdict() {
	if [ -z "$2" ]; then
		echo "ok manual: $1"
	else
		echo "not ok manual: $1:" $2
		failed=1
	fi
}

options_in() {
	grep -oE -- '(^|[ []|\B)--?[a-z][a-z-]*' | tr -d ' [' | sort -u
}

# What the completion offers of options for a command line.
completed() {
	local COMPREPLY=() COMP_WORDS=(mitosis-cli "$@" -) COMP_CWORD=$(($# + 1))
	_mitosis_cli 2> /dev/null
	printf '%s\n' "${COMPREPLY[@]}"
}

# not_in_page WORD...: as roff writes them.
not_in_page() {
	local word
	for word in "$@"; do
		grep -qE -- "(^|[^a-z-])${word//-/\\\\-}([^a-z\\]|\$|\\\\[^-])" $PAGE || echo "$word"
	done
}

mapfile -t commands < <("$CLI" --help | sed -nE 's/^  ([a-z]+) .*/\1/p')
[ ${#commands[@]} -gt 5 ] || { echo "not ok manual: $CLI --help names no commands"; exit 1; }
verdict "commands, in the page" "$(not_in_page "${commands[@]}")"
verdict "commands, completed" "$(comm -3 <(printf '%s\n' --help --version "${commands[@]}" | sort) <(
	COMP_WORDS=(mitosis-cli '') COMP_CWORD=1 COMPREPLY=()
	_mitosis_cli
	printf '%s\n' "${COMPREPLY[@]}" | sort))"
for c in "${commands[@]}"; do
	mapfile -t options < <("$CLI" "$c" --help | sed -n 1p | options_in)
	verdict "options of $c, in the page" "$(not_in_page "${options[@]}")"
	[ "$c" = receive ] ||
		verdict "options of $c, completed" "$(comm -3 <(printf '%s\n' --help "${options[@]}" | grep . | sort) <(completed "$c" | sort))"
done
verdict "options in the sources, in --help" "$(comm -23 <(sed -nE 's/\{ "/\n&/gp' cli/*.c |
	sed -nE 's/^\{ "([a-z-]+)", [012], NULL.*/--\1/p' | sort -u) <(for c in "${commands[@]}"; do "$CLI" "$c" --help; done | options_in))"
exit $failed
