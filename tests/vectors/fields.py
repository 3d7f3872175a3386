#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""fields.py mlx5_ifc.h MESSAGE...: the fields of firmware messages as C tables, one for each message, and the values of opcodes and service types.

The kernel's header describes a message as a structure with one byte a bit. Structures in structures are flattened: a field has the path of
its names, its first bit and its number of bits. An array without a length, which is always last, is a field whose path ends in "[]".
"""
import re
import sys

MEMBER = re.compile(r'\s*(?:u8|struct mlx5_ifc_(?P<struct>\w+)_bits)\s+(?P<name>\w+)(?P<dims>(?:\[\w*\])*);')
VALUE = re.compile(r'^\s*(MLX5_(?:CMD_OP|QPC_ST)_\w+)\s*=\s*(0x\w+)', re.M)


def structures(header):
    text = re.sub(r'/\*.*?\*/', '', header, flags=re.S)
    return {m[1]: m[2] for m in re.finditer(r'^struct mlx5_ifc_(\w+)_bits \{\n(.*?)^\};', text, re.S | re.M)}


def fields(known, name, path='', start=0):
    """Yields (path, first bit, bits)."""
    at = start
    for line in known[name].splitlines():
        if not line.strip():
            continue
        m = MEMBER.match(line)
        if not m:
            sys.exit(f'fields.py: cannot read a member of {name}, teach MEMBER about it: {line.strip()}')
        dims = re.findall(r'\[(\w*)\]', m['dims'])
        where = path + m['name']
        if m['struct']:
            bits = sum(f[2] for f in fields(known, m['struct'], start=at))
            if dims == ['']:
                yield where + '[]', at, bits
            elif dims:
                sys.exit(f'fields.py: {name} has an array of structures, which is not written yet: {line.strip()}')
            else:
                yield from fields(known, m['struct'], where + '.', at)
                at += bits
        elif dims[0] == '':
            yield where + '[]', at, int(dims[1], 0)
        else:
            bits = 1
            for d in dims:
                bits *= int(d, 0)
            yield where, at, bits
            at += bits


def main():
    with open(sys.argv[1], encoding='utf-8') as f:
        header = f.read()
    known = structures(header)
    print('/* Made by fields.py from the kernel\'s mlx5_ifc.h. */')
    print('enum {')
    for value in VALUE.findall(header):
        print('\t%s = %s,' % value)
    print('};')
    for message in sys.argv[2:]:
        if message not in known:
            sys.exit(f'fields.py: {sys.argv[1]} has no message {message}: correct the list in module.mk')
        print(f'static const struct vec_field fields_{message}[] = {{')
        for path, start, bits in fields(known, message):
            print(f'\t{{ "{path}", {start}, {bits} }},')
        print('};')


if __name__ == '__main__':
    main()
