#!/bin/bash
# SPDX-License-Identifier: MIT
# lint.sh: what compilers do not say. cppcheck and clang-tidy on what runs in user space, sparse on the module, checkpatch on all; a
# finding is an error. checkpatch comes from Debian's linux-source, which the debug kernel is built of as well.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
OUT=build/lint
mkdir -p $OUT
mapfile -t FILES < <(git ls-files '*.c' '*.h')
mapfile -t USER_FILES < <(printf '%s\n' "${FILES[@]}" | grep -E '^(cli|lib|images|mitosis-criu-plugin)/.*\.c$')
FLAGS=(-D_GNU_SOURCE "-DMITOSIS_VERSION=\"lint\"" -I. -Ikmod/uapi -Ibuild/images)
rc=0

say() {
	if [ "$2" = 0 ]; then echo "ok $1"; else echo "not ok $1" && rc=1; fi
}

# Macros that declare what follows them.
status=0
cppcheck --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -q "${FLAGS[@]}" \
	'-Djson_object_object_foreach(o,k,v)=for (const char *k = ""; o; k++) for (json_object *v = o; v; v = 0)' \
	'-DCR_PLUGIN_REGISTER(n,i,f)=' "${USER_FILES[@]}" || status=$?
say cppcheck $status

# Not these: C's own idioms (strcmp() as a truth value, assignment in a condition), the "safe" functions of Annex K, which glibc does not
# have, and va_list, which this clang misreads on x86-64 where it checks more than one file.
checks='-*,bugprone-*,clang-analyzer-*,-bugprone-assignment-in-if-condition,-bugprone-branch-clone,-bugprone-easily-swappable-parameters'
checks+=',-bugprone-implicit-widening-of-multiplication-result,-bugprone-narrowing-conversions,-bugprone-reserved-identifier'
checks+=',-bugprone-sizeof-expression,-bugprone-suspicious-string-compare,-clang-analyzer-security.insecureAPI.*,-clang-analyzer-valist.Uninitialized'
status=0
read -ra pkgs < <(pkg-config --cflags libnl-3.0 libnl-genl-3.0 libprotobuf-c json-c libcap)
clang-tidy --quiet --warnings-as-errors='*' --checks="$checks" "${USER_FILES[@]}" -- -std=gnu11 "${FLAGS[@]}" \
	-isystem build/rig/sysroot/usr/include/criu "${pkgs[@]}" 2> $OUT/clang-tidy.err || status=$?
say clang-tidy $status

# The kernel's headers have findings of their own under an older sparse: only ours count.
status=0
make --no-print-directory kmod KNAME=lint KDIR=build/rig/kernel-6.12/kdir SPARSE=1 > $OUT/sparse.log 2>&1 || status=$?
! grep -E '/build/kmod-lint/[a-z_]+\.[ch]:[0-9]+' $OUT/sparse.log || status=1
say sparse $status

checkpatch=$OUT/checkpatch/scripts/checkpatch.pl
if [ ! -f $checkpatch ]; then
	mkdir -p $OUT/deb $OUT/checkpatch
	(cd $OUT/deb && apt-get -q -o APT::Sandbox::User=root download linux-source-6.12 && dpkg-deb -x ./*.deb .) > $OUT/download.log 2>&1
	tar -C $OUT/checkpatch --strip-components=1 --wildcards -xf $OUT/deb/usr/src/linux-source-6.12.tar.xz '*/scripts/checkpatch.pl' \
		'*/scripts/spelling.txt' '*/scripts/const_structs.checkpatch'
	rm -rf $OUT/deb
fi
# Not these: macros of the kernel that user space does not have, versions (one source for all), volatile of programs that watch memory,
# iterators that look like code, KERNEL_VERSION() that looks like a constant, compound literals.
ignore=PREFER_DEFINED_ATTRIBUTE_MACRO,ARRAY_SIZE,LINUX_VERSION_CODE,VOLATILE,STRCPY,EMBEDDED_FUNCTION_NAME,STATIC_CONST_CHAR_ARRAY
ignore+=,NAKED_SSCANF,WEAK_DECLARATION,AVOID_EXTERNS,FUNCTION_ARGUMENTS,LINE_SPACING,CONSTANT_COMPARISON,ASSIGN_IN_IF,SPACING
status=0
perl $checkpatch --no-tree --no-summary --terse --max-line-length=100 --ignore "$ignore" -f "${FILES[@]}" || status=$?
say checkpatch $status
exit $rc
