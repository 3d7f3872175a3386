/* SPDX-License-Identifier: MIT */
/* main.c runs what a test_NAME.c has in its suites. */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H

#include <CUnit/Basic.h>

/* A test that goes by the name of its function. */
#define TEST(function) { #function, function }

extern CU_SuiteInfo suites[];

#endif /* TESTS_UNIT_H */
