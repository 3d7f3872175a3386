#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""rdma_tests.py DEVICE SECONDS MODULE: rdma-core's own tests in that module, one line a test with its result.

The tests are those that Debian ships in python3-pyverbs' documentation. Their package imports every module there is when it is
imported, which takes longer than most of the tests: here it is a package that imports nothing.
"""
import importlib
import random
import re
import signal
import sys
import types
import unittest

TESTS = '/usr/share/doc/rdma-core/tests'

# Tests that cannot pass, and why. One that passes all the same is a failure.
CANNOT = {
    'DCTest.test_dc_atomic':
        'libmlx5 knows only with DEVX, which is not modelled, how many atomic operations a DC initiator may have: the test posts none',
    'DCTest.test_odp_dc_traffic':
        'paging on demand is not modelled, which the driver of 6.1 refuses with an error that the test does not expect',
}


def one_line(text):
    return re.sub(r'\s+', ' ', str(text)).strip()


class Lines(unittest.TestResult):
    """Names are printed without the module's, which is the same for all."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds
        self.told = set()

    @staticmethod
    def name(test):
        return '.'.join(getattr(test, 'test_case', test).id().split('.')[-2:])

    def say(self, result, test, why=''):
        name = self.name(test)
        # A test with parts may fail and be skipped in several of them: the first word counts.
        if name not in self.told:
            self.told.add(name)
            print(f'{result} {name}{why and ": "}{one_line(why)}', flush=True)

    def startTest(self, test):
        super().startTest(test)
        # They choose sizes and flags by chance, and are skipped when a flag is not supported.
        random.seed(self.name(test))
        signal.alarm(self.seconds)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def addSuccess(self, test):
        if self.name(test) in CANNOT:
            self.say('failed', test, 'it has passed: take it out of CANNOT')
        else:
            self.say('passed', test)

    def addSkip(self, test, reason):
        self.say('skipped', test, CANNOT.get(self.name(test), reason))

    def addExpectedFailure(self, test, err):
        self.say('passed', test)

    def addUnexpectedSuccess(self, test):
        self.say('failed', test, 'it was expected to fail')

    def addError(self, test, err):
        if self.name(test) in CANNOT:
            self.say('skipped', test, CANNOT[self.name(test)])
            return
        self.say('failed', test, f'{err[0].__name__}: {err[1]}')
        print(self._exc_info_to_string(err, getattr(test, 'test_case', test)), file=sys.stderr)

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        if err:
            self.addError(test, err)


def too_long(_signal, _frame):
    raise TimeoutError('not ended in time')


def main():
    device, seconds, module = sys.argv[1:]
    sys.argv[1:] = ['--dev', device]
    sys.path[:0] = [TESTS]
    package = types.ModuleType('tests')
    package.__path__ = [TESTS]
    sys.modules['tests'] = package
    importlib.import_module('args_parser').parser.parse_args()
    # It and mlx5_base import each other, which only works in this order.
    importlib.import_module('tests.utils')
    signal.signal(signal.SIGALRM, too_long)
    suite = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module('tests.' + module))
    result = Lines(int(seconds))
    suite.run(result)


main()
