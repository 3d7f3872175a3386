#!/bin/bash
# SPDX-License-Identifier: MIT
# lint.sh: what compilers do not say. cppcheck and clang-tidy on what runs in user space, sparse on the module, checkpatch on all; a
# finding is an error. checkpatch comes from Debian's linux-source, which the debug kernel is built of as well.
# Arguments: what the compiler gets of -D, -I and the like.
set -euo pipefail
# shellcheck source=../scripts/rig/lib.sh
. "$(dirname "$(readlink -f "$0")")/../scripts/rig/lib.sh"
cd "$TOP"
OUT=$TOP/build/lint
mkdir -p "$OUT"
mapfile -t FILES < <(git ls-files '*.c' '*.h')
mapfile -t USER_FILES < <(printf '%s\n' "${FILES[@]}" | grep -E '^(cli|lib|images|mitosis-criu-plugin)/.*\.c$')
rc=0

say() {
	if [ "$2" = 0 ]; then echo "ok $1"; else echo "not ok $1" && rc=1; fi
}

# It does not read the libraries' headers: what looks like no C without them.
cat > "$OUT/macros.h" <<'END'
#define json_object_object_foreach(o, k, v) \
	for (const char *k = json_key(o); k; k = json_key(o)) for (json_object *v = json_value(o); v; v = 0)
#define CR_PLUGIN_REGISTER(name, init, fini)
#define CR_PLUGIN_REGISTER_HOOK(hook, function)
#define PROTOBUF_C_VERSION_NUMBER 9999999
#define PROTOBUF_C__BEGIN_DECLS
#define PROTOBUF_C__END_DECLS
#define PROTOBUF_C__FORCE_ENUM_TO_BE_INT_SIZE(name)
END
status=0
cppcheck --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -q "--include=$OUT/macros.h" "$@" \
	"${USER_FILES[@]}" || status=$?
say cppcheck $status

# Not these: C's own idioms (strcmp() as a truth value, assignment in a condition), the "safe" functions of Annex K, which glibc does not
# have, and va_list, which this clang misreads on x86-64 where it checks more than one file.
checks='-*,bugprone-*,clang-analyzer-*,-bugprone-assignment-in-if-condition,-bugprone-branch-clone,-bugprone-easily-swappable-parameters'
checks+=',-bugprone-implicit-widening-of-multiplication-result,-bugprone-narrowing-conversions,-bugprone-reserved-identifier'
checks+=',-bugprone-sizeof-expression,-bugprone-suspicious-string-compare,-clang-analyzer-security.insecureAPI.*,-clang-analyzer-valist.Uninitialized'
status=0
clang-tidy --quiet --warnings-as-errors='*' --checks="$checks" "${USER_FILES[@]}" -- -std=gnu11 "$@" \
	-isystem build/rig/sysroot/usr/include/criu 2> "$OUT"/clang-tidy.err || status=$?
say clang-tidy $status

# The kernel's headers have findings of their own under an older sparse: only ours count.
status=0
make --no-print-directory kmod KNAME=lint KDIR=build/rig/kernel-6.12/kdir SPARSE=1 > "$OUT"/sparse.log 2>&1 || status=$?
! grep -E '/build/kmod-lint/[a-z0-9_]+\.[ch]:[0-9]+' "$OUT"/sparse.log || status=1
say sparse $status

checkpatch=$OUT/checkpatch/scripts/checkpatch.pl
[ -f "$checkpatch" ] ||
	kernel_source "$OUT/checkpatch" '*/scripts/checkpatch.pl' '*/scripts/spelling.txt' '*/scripts/const_structs.checkpatch'
# Not these: macros of the kernel that user space does not have, versions (one source for all), volatile of programs that watch memory,
# iterators that look like code, KERNEL_VERSION() that looks like a constant, compound literals.
ignore=PREFER_DEFINED_ATTRIBUTE_MACRO,ARRAY_SIZE,LINUX_VERSION_CODE,VOLATILE,STRCPY,EMBEDDED_FUNCTION_NAME,STATIC_CONST_CHAR_ARRAY
ignore+=,NAKED_SSCANF,WEAK_DECLARATION,AVOID_EXTERNS,FUNCTION_ARGUMENTS,LINE_SPACING,CONSTANT_COMPARISON,ASSIGN_IN_IF,SPACING
status=0
perl "$checkpatch" --no-tree --no-summary --terse --max-line-length=100 --ignore "$ignore" -f "${FILES[@]}" || status=$?
say checkpatch $status

# checkpatch keeps this one to itself for files. A sentence is not broken, so that it can be searched for.
status=0
# shellcheck disable=SC2016 # perl expands it
perl -MText::Tabs -ne 'chomp; $l = expand($_); $l =~ s/"(?:[^"\\]|\\.){30,}"/""/g;
	print "$ARGV:$.: the line has more than 100 columns\n" and $n++ if length $l > 100; close ARGV if eof; END { $? = !!$n }' \
	"${FILES[@]}" || status=$?
say columns $status
exit $rc
