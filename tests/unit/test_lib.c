// SPDX-License-Identifier: MIT
/* libmitosis, as far as it can be tested without the module. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/mitosis.h"
#include "tests/unit/unit.h"

static const char rest[] =
	" S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 10 18446744073709551615\n";

static void start_time_of(const char *comm, int want, uint64_t value)
{
	uint64_t start = 0;
	char stat[512];

	snprintf(stat, sizeof(stat), "42 (%s)%s", comm, rest);
	CU_ASSERT_EQUAL(mitosis_proc_parse_start_time(stat, &start), want);
	CU_ASSERT_EQUAL(start, value);
}

static void test_stat_any_name(void)
{
	start_time_of("sh", 0, 987654);
	start_time_of("a b", 0, 987654);
	start_time_of(") S 1 1 1 (", 0, 987654);
	start_time_of("x) R 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 1 9", 0, 987654);
}

static void test_stat_broken(void)
{
	uint64_t start;

	CU_ASSERT_EQUAL(mitosis_proc_parse_start_time("", &start), -EINVAL);
	CU_ASSERT_EQUAL(mitosis_proc_parse_start_time("42 (sh", &start), -EINVAL);
	CU_ASSERT_EQUAL(mitosis_proc_parse_start_time("42 (sh)", &start), -EINVAL);
	CU_ASSERT_EQUAL(mitosis_proc_parse_start_time("42 (sh) S 1 2 3", &start), -EINVAL);
	CU_ASSERT_EQUAL(mitosis_proc_parse_start_time(
		"42 (sh) S 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 x 0", &start), -EINVAL);
	CU_ASSERT_EQUAL(mitosis_proc_parse_start_time(
		"42 (sh) S 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 99999999999999999999999 0", &start),
		-EINVAL);
}

static void test_proc_self(void)
{
	struct mitosis_proc proc = {}, again = {};
	int pidfd = -1;

	CU_ASSERT_EQUAL(mitosis_proc_get(getpid(), &proc, &pidfd), 0);
	CU_ASSERT_EQUAL(proc.pid, (uint32_t)getpid());
	CU_ASSERT(proc.start_time > 0);
	CU_ASSERT(pidfd >= 0);
	close(pidfd);
	prctl(PR_SET_NAME, ") 1 2 (");
	CU_ASSERT_EQUAL(mitosis_proc_get(getpid(), &again, NULL), 0);
	CU_ASSERT_EQUAL(again.start_time, proc.start_time);
}

/* A zombie still has a pid and a stat, but nothing that could be moved. */
static void test_proc_dead(void)
{
	struct mitosis_proc proc;
	siginfo_t info;
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	CU_ASSERT_FATAL(pid > 0);
	CU_ASSERT_EQUAL(waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
	CU_ASSERT_EQUAL(mitosis_proc_get(pid, &proc, NULL), -ESRCH);
	waitpid(pid, NULL, 0);
	CU_ASSERT_EQUAL(mitosis_proc_get(pid, &proc, NULL), -ESRCH);
	CU_ASSERT_EQUAL(mitosis_proc_get(0, &proc, NULL), -EINVAL);
	CU_ASSERT_EQUAL(mitosis_proc_get(-1, &proc, NULL), -EINVAL);
}

static void test_names(void)
{
	unsigned int i, j;

	for (i = 0; i < __MITOSIS_STAT_MAX; i++) {
		CU_ASSERT_STRING_NOT_EQUAL(mitosis_stat_name(i), "unknown");
		for (j = 0; j < i; j++)
			CU_ASSERT_STRING_NOT_EQUAL(mitosis_stat_name(i), mitosis_stat_name(j));
	}
	CU_ASSERT_STRING_EQUAL(mitosis_stat_name(__MITOSIS_STAT_MAX), "unknown");
	CU_ASSERT_STRING_EQUAL(mitosis_event_name(MITOSIS_EVENT_KILLED), "killed");
	CU_ASSERT_STRING_EQUAL(mitosis_event_name(MITOSIS_EVENT_UNSPEC), "unknown");
	CU_ASSERT_STRING_EQUAL(mitosis_event_name(4000000000U), "unknown");
	CU_ASSERT_STRING_EQUAL(mitosis_hold_state_name(MITOSIS_HOLD_SEALED), "sealed");
	CU_ASSERT_STRING_EQUAL(mitosis_link_state_name(MITOSIS_LINK_DONE), "done");
	CU_ASSERT_STRING_EQUAL(mitosis_link_state_name(MITOSIS_LINK_DONE + 1), "unknown");
}

static void test_prefetch(void)
{
	static const char *const bad[] = {
		"", "=", "non", "none=1", "windows", "window=", "window=0", "window=3", "window=64",
		"window=8x", "window=-8", "window= 8", "recorded=8", "window=18446744073709551617"
	};
	struct mitosis_arm arm = { .window = 1 };
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(mitosis_prefetch_parse(bad[i], &arm), -EINVAL);
	CU_ASSERT_EQUAL(arm.window, 1);
	CU_ASSERT_EQUAL(mitosis_prefetch_parse("window", &arm), 0);
	CU_ASSERT_TRUE(arm.prefetch == MITOSIS_PREFETCH_WINDOW && !arm.window);
	CU_ASSERT_EQUAL(mitosis_prefetch_parse("sequential=32", &arm), 0);
	CU_ASSERT_TRUE(arm.prefetch == MITOSIS_PREFETCH_SEQUENTIAL && arm.window == 32);
	CU_ASSERT_EQUAL(mitosis_prefetch_parse("none", &arm), 0);
	CU_ASSERT_TRUE(arm.prefetch == MITOSIS_PREFETCH_NONE && !arm.window);
	CU_ASSERT_EQUAL(mitosis_prefetch_parse("recorded", &arm), 0);
	CU_ASSERT_EQUAL(arm.prefetch, MITOSIS_PREFETCH_RECORDED);
}

static void test_addr(void)
{
	CU_ASSERT_FALSE(mitosis_addr_has_rdma(""));
	CU_ASSERT_FALSE(mitosis_addr_has_rdma("localhost"));
	CU_ASSERT_FALSE(mitosis_addr_has_rdma("192.0.2.1"));
	CU_ASSERT_FALSE(mitosis_addr_has_rdma("2001:db8::1"));
	CU_ASSERT_FALSE(mitosis_addr_has_rdma("10.77.0.1; ls"));
	CU_ASSERT_FALSE(mitosis_addr_is_local(""));
	CU_ASSERT_FALSE(mitosis_addr_is_local("192.0.2.1"));
	CU_ASSERT(mitosis_addr_is_local("127.0.0.1"));
}

/* Without the module there is a sentence that names it. */
static void test_open_without_module(void)
{
	char err[MITOSIS_ERROR_LEN] = "";
	struct mitosis *ctl = mitosis_open(err, sizeof(err));

	if (ctl) {
		mitosis_close(ctl);
		return;
	}
	CU_ASSERT_EQUAL(errno, ENODEV);
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "mitosis"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err, "modprobe"));
	mitosis_close(NULL);
}

static void test_transports(void)
{
	CU_ASSERT(mitosis_transports_have("dct", "dct"));
	CU_ASSERT(mitosis_transports_have("dct,rc", "dct"));
	CU_ASSERT(mitosis_transports_have("dct,rc", "rc"));
	CU_ASSERT_FALSE(mitosis_transports_have("", "rc"));
	CU_ASSERT_FALSE(mitosis_transports_have("dct", "rc"));
	CU_ASSERT_FALSE(mitosis_transports_have("dct,rcx", "rc"));
	CU_ASSERT_FALSE(mitosis_transports_have("dct,r", "rc"));
	CU_ASSERT_FALSE(mitosis_transports_have("dct,rc", "dct,rc"));
}

static CU_TestInfo tests[] = {
	TEST(test_stat_any_name),
	TEST(test_stat_broken),
	TEST(test_proc_self),
	TEST(test_proc_dead),
	TEST(test_names),
	TEST(test_prefetch),
	TEST(test_addr),
	TEST(test_transports),
	TEST(test_open_without_module),
	CU_TEST_INFO_NULL,
};

CU_SuiteInfo suites[] = {
	{ "lib", NULL, NULL, NULL, NULL, tests },
	CU_SUITE_INFO_NULL,
};
