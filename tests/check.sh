#!/bin/bash
# SPDX-License-Identifier: MIT
# check.sh PART...: runs parts of the tests, one line a test, and closes with how many passed and failed.
set -u
cd "$(dirname "$(readlink -f "$0")")/.." || exit 1
LOGS=build/test-logs
mkdir -p $LOGS
: > $LOGS/results

# Passes output on, line by line as it comes, and makes lines of results out of CUnit's.
results() {
	local line suite=''
	while IFS= read -r line; do
		case $line in
		"Suite: "*) suite=${line#Suite: } && continue ;;
		"  Test: "*...passed*) line=${line#  Test: } line="ok unit $suite: ${line% ...passed*}" ;;
		"  Test: "*...FAILED*) line=${line#  Test: } line="not ok unit $suite: ${line% ...FAILED*}" ;;
		"ok - "*) line="ok ${line#ok - }" ;;
		"not ok - "*) line="not ok ${line#not ok - }" ;;
		esac
		printf '%s\n' "$line"
	done | tee -a $LOGS/results
}

# run_part NAME SECONDS COMMAND...: one that fails without a line that says so is a failure of its own.
run_part() {
	local name=$1 bound=$2 begin=$SECONDS before rc
	shift 2
	before=$(grep -c '^not ok ' $LOGS/results)
	timeout -k 20 "$bound" "$@" 2>&1 < /dev/null | results
	rc=${PIPESTATUS[0]}
	[ "$rc" = 0 ] || [ "$(grep -c '^not ok ' $LOGS/results)" -gt "$before" ] ||
		echo "not ok $name: '$*' ended with status $rc" | results
	echo "$name: $((SECONDS - begin)) s"
}

# Kernel style and compilers' warnings are for other targets; a script that shellcheck rejects is a fault.
scripts_check() {
	local f scripts=()
	while read -r f; do
		head -n 1 "$f" | grep -q '^#!/bin/bash' && scripts+=("$f")
	done < <(git ls-files 2> /dev/null || find . -path ./build -prune -o -type f -print)
	if shellcheck -x -P SCRIPTDIR -S warning "${scripts[@]}"; then
		echo "ok shellcheck of ${#scripts[@]} scripts"
	else
		echo "not ok shellcheck"
	fi
}

for p in "$@"; do
	case $p in
	rig) run_part rig 2400 make rig ;;
	build) run_part build 900 make -j"$(nproc)" all ;;
	unit) run_part unit 600 make check-unit ;;
	fuzz) run_part fuzz 600 make fuzz FUZZ_SECONDS="${FUZZ_SECONDS:-20}" ;;
	scripts) scripts_check 2>&1 | results ;;
	manual) run_part manual 60 make check-man ;;
	packages) run_part packages 900 make check-deb-build ;;
	programs) run_part programs 900 make check-progs ;;
	vm) run_part vm 4800 make -k -j2 check-core-6.12 check-more check-mlx5-core check-6.1-core check-tcp-core ;;
	soak) run_part soak 86400 make check-vm ;;
	vm-debug) run_part vm-debug 14400 make check-vm-debug ;;
	*) echo "check.sh: no part $p" >&2 && exit 2 ;;
	esac
done
passed=$(grep -c '^ok ' $LOGS/results)
failed=$(grep -c '^not ok ' $LOGS/results)
if [ "$failed" -gt 0 ]; then
	echo "failed:"
	sed -n 's/^not ok /  /p' $LOGS/results
fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
