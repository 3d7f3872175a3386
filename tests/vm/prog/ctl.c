// SPDX-License-Identifier: MIT
/*
 * The module by hand, without CRIU.
 *
 *	ctl hold ADDR PID START NPAGES [LEASE]	a snapshot of one run: prints what a peer has to
 *						know. Environment, here and below: TRANSPORT
 *						(default here: rc), MITOSIS_INSECURE
 *	ctl release SNAPSHOT
 *	ctl regions SNAPSHOT			prints MM START NPAGES RKEY of each
 *	ctl lazify ADDR DRAIN_MS PID...		makes living processes lazy in place: their memory
 *						is held, taken from them, and comes back over a link
 *						to this very machine. DRAIN_MS < 0: without a drain;
 *						ctl drain SNAPSHOT starts it later. Environment:
 *						BEYOND=PAGE,... is said to be held at the end of its
 *						region, and is not. The device refuses to read it,
 *						as it does memory that has failed, which no emulated
 *						device does. WRONG_KEY: all pages of large regions.
 *						CACHE: what is read is shared. PREFETCH: a policy.
 *						LINK_PORT: of this machine at ADDR, where somebody
 *						stands between
 *	ctl fork ADDR PARENT CLONE CHILD...	a snapshot of PARENT, whose copy-on-write clone
 *						ends, and which runs on; children, which have its
 *						mappings, get their memory from it and share what
 *						they read. One that cannot is killed, the others go
 *						on
 *	ctl drain SNAPSHOT
 *	ctl link SNAPSHOT KEY ADDR PORT		opens a link and closes it; with STAY, when there is
 *						something to read, or nothing any more
 *	ctl read SNAPSHOT KEY DCT START NPAGES RKEY
 *						a process whose memory is that run of a snapshot, if
 *						what is said of it is true. DCT is as hold prints
 *						it. Prints "read WORD", its first eight bytes,
 *						"killed", "refused" or "error: SENTENCE"
 *	ctl stat NAME				one counter
 *	ctl close SNAPSHOT			the link
 *	ctl fuzz SEED N				messages of random content to the module; none may
 *						be believed
 *	ctl fail WHAT N COMMAND...		the Nth allocation of one of COMMAND's calls fails;
 *						status 3 when it has not so many
 */
#include "prog.h"
#include <dirent.h>
#include <netlink/attr.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

#include "lib/mitosis.h"

static struct mitosis *ctl;

#define DIE(...) do { fprintf(stderr, __VA_ARGS__); fputc('\n', stderr); exit(1); } while (0)
#define TRY(call, what) ({ \
	int r_; \
	nth_set(what); \
	r_ = (call); \
	nth_look(); \
	if (r_) \
		fprintf(stderr, "%s: %s (%s)\n", what, mitosis_error(ctl), strerror(-r_)); \
	r_; \
})
#define OK(call, what) do { \
	if (TRY(call, what)) \
		exit(1); \
} while (0)

static const char *nth_what = "";
static int nth_fd = -1, nth;
static bool nth_is_set, nth_was_left;

/* Documentation/fault-injection: it counts down to 0, where the allocation fails. */
static void nth_set(const char *what)
{
	nth_is_set = nth && !strcmp(what, nth_what);
	if (nth_is_set && dprintf(nth_fd, "%d", nth) < 0)
		DIE("fail-nth: %s", strerror(errno));
}

static void nth_look(void)
{
	char left[16] = "";

	if (!nth_is_set)
		return;
	if (pread(nth_fd, left, sizeof(left) - 1, 0) < 0 || pwrite(nth_fd, "0", 1, 0) < 0)
		DIE("fail-nth: %s", strerror(errno));
	nth_was_left = atoi(left) > 0;
	nth = 0;
}

struct runs {
	struct mitosis_run *run;
	size_t n;
};

struct regions {
	uint32_t mm;
	struct mitosis_region *region;
	size_t n;
	bool print;
};

static int region_print(uint32_t mm, const struct mitosis_region *r, size_t n, void *arg)
{
	for (size_t i = 0; i < n; i++)
		printf("%u %llu %u %u\n", mm, r[i].start, r[i].npages, r[i].rkey);
	return 0;
}

static int region_add(uint32_t mm, const struct mitosis_region *r, size_t n, void *arg)
{
	struct regions *rs = arg;

	for (size_t i = 0; i < n; i++)
		if (rs->print)
			printf("region %llu %u %u\n", r[i].start, r[i].npages, r[i].rkey);
	if (mm != rs->mm)
		return 0;
	rs->region = realloc(rs->region, (rs->n + n) * sizeof(*r));
	memcpy(rs->region + rs->n, r, n * sizeof(*r));
	rs->n += n;
	return 0;
}

static void proc_get(pid_t pid, struct mitosis_proc *proc)
{
	OK(mitosis_proc_get(pid, proc, NULL), "process");
}

static uint32_t insecure(void)
{
	return getenv("MITOSIS_INSECURE") ? MITOSIS_F_INSECURE : 0;
}

static void dct_print(const struct mitosis_dct *dct)
{
	printf("dct ");
	for (size_t i = 0; i < sizeof(dct->gid); i++)
		printf("%02x", dct->gid[i]);
	printf(",%u,%u,%016llx,%u\n", dct->lid, dct->number, dct->key, dct->mtu);
}

static void dct_parse(const char *text, struct mitosis_dct *dct)
{
	unsigned int lid, number, mtu;
	unsigned long long key;

	for (size_t i = 0; i < sizeof(dct->gid); i++, text += 2)
		if (sscanf(text, "%2hhx", &dct->gid[i]) != 1)
			DIE("%s is no GID", text);
	if (sscanf(text, ",%u,%u,%llx,%u", &lid, &number, &key, &mtu) != 4)
		DIE("%s is not LID, number, key and MTU", text);
	dct->lid = lid;
	dct->number = number;
	dct->key = key;
	dct->mtu = mtu;
	dct->link = MITOSIS_DCT_IB;
}

static void key_parse(const char *hex, uint8_t *key)
{
	for (int i = 0; i < MITOSIS_KEY_LEN; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &key[i]) != 1)
			DIE("%s is no key", hex);
}

static void hold(char **argv, int argc)
{
	const char *transport = getenv("TRANSPORT") ? getenv("TRANSPORT") : "rc";
	struct regions rs = { .print = true };
	struct mitosis_proc proc;
	struct mitosis_run run;
	uint8_t key[MITOSIS_KEY_LEN];
	struct mitosis_where where;
	uint64_t id;

	proc_get(atoi(argv[1]), &proc);
	run.start = strtoull(argv[2], NULL, 0);
	run.npages = strtoull(argv[3], NULL, 0);
	OK(mitosis_hold_create(ctl, transport, strcmp(transport, "dct") ? argv[0] : NULL, "test",
			       argc > 4 ? atoi(argv[4]) : 0, insecure(), &id, key, &where),
	   "hold");
	OK(mitosis_hold_mm(ctl, id, proc.pid, &proc, NULL), "hold mm");
	OK(mitosis_hold_pages(ctl, id, proc.pid, &run, 1), "hold pages");
	OK(mitosis_hold_seal(ctl, id), "seal");
	printf("snapshot %016llx\nkey ", (unsigned long long)id);
	for (int i = 0; i < MITOSIS_KEY_LEN; i++)
		printf("%02x", key[i]);
	printf("\nport %u\n", where.port);
	if (where.dct.number)
		dct_print(&where.dct);
	OK(mitosis_region_get(ctl, id, region_add, &rs), "regions");
}

static void run_add(struct runs *runs, uint64_t page)
{
	struct mitosis_run *r = runs->n ? &runs->run[runs->n - 1] : NULL;

	if (r && r->start + r->npages * PAGE == page) {
		r->npages++;
		return;
	}
	if (runs->n % 1024 == 0)
		runs->run = realloc(runs->run, (runs->n + 1024) * sizeof(*r));
	runs->run[runs->n++] = (struct mitosis_run){ .start = page, .npages = 1 };
}

/* What CRIU would leave to lazy pages: private anonymous mappings that are not locked. */
static void runs_find(pid_t pid, struct runs *runs)
{
	unsigned long from = 0, to = 0, first, end, inode;
	char path[64], line[1024], perms[5], *name;
	bool anon = false, skip;
	int pagemap, at;
	FILE *f;

	memset(runs, 0, sizeof(*runs));
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	pagemap = open(path, O_RDONLY);
	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "r");
	if (!f || pagemap < 0)
		DIE("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		/* Names of fields begin with letters that are hexadecimal digits, too. */
		if (sscanf(line, "%lx-%lx %4s %*x %*x:%*x %lu %n", &first, &end, perms, &inode,
			   &at) == 4) {
			from = first;
			to = end;
			name = line + at;
			anon = !inode && perms[3] == 'p' &&
			       (*name == '\n' || !*name || !strncmp(name, "[heap]", 6) ||
				!strncmp(name, "[stack]", 7));
			continue;
		}
		if (strncmp(line, "VmFlags:", 8))
			continue;
		skip = strstr(line, " lo ") || strstr(line, " ht ") || strstr(line, " io ") ||
		       strstr(line, " pf ");
		for (unsigned long p = from; anon && !skip && p < to; p += PAGE * 512) {
			uint64_t map[512];
			ssize_t n = (to - p) / PAGE < 512 ? (to - p) / PAGE : 512;

			n = pread(pagemap, map, n * 8, p / PAGE * 8) / 8;
			for (ssize_t i = 0; i < n; i++)
				if ((map[i] >> 62 & 3) && !(map[i] >> 61 & 1))
					run_add(runs, p + i * PAGE);
		}
	}
	fclose(f);
	close(pagemap);
}

/* What the source refuses to let be read. */
static void beyond(struct runs *runs, struct regions *rs)
{
	const char *s = getenv("BEYOND");
	char *end;

	for (size_t i = 0; getenv("WRONG_KEY") && i < rs->n; i++)
		rs->region[i].rkey ^= rs->region[i].npages > 256 ? 0x80 : 0;
	for (; s && *s; s = *end ? end + 1 : end) {
		uint64_t page = strtoull(s, &end, 16);
		int found = 0;

		for (size_t i = 0; i < runs->n; i++)
			if (runs->run[i].start + runs->run[i].npages * PAGE == page && ++found)
				runs->run[i].npages++;
		for (size_t i = 0; i < rs->n; i++)
			if (rs->region[i].start + rs->region[i].npages * PAGE == page && ++found)
				rs->region[i].npages++;
		if (found != 2)
			DIE("page %llx is not behind a run and a region", (unsigned long long)page);
	}
}

static bool all_stopped(pid_t pid)
{
	char path[64], buf[512], *state;
	struct dirent *d;
	bool yes = true;
	DIR *dir;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.20s/stat", pid, d->d_name);
		f = fopen(path, "r");
		state = f && fgets(buf, sizeof(buf), f) ? strrchr(buf, ')') : NULL;
		if (state && state[2] != 'T' && state[2] != 'Z')
			yes = false;
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return yes;
}

static void stop_all(struct mitosis_proc *proc, char **pids, int n)
{
	for (int i = 0; i < n; i++) {
		proc_get(atoi(pids[i]), &proc[i]);
		kill(proc[i].pid, SIGSTOP);
	}
	for (int i = 0; i < n; i++)
		for (int k = 0; !all_stopped(proc[i].pid); k++) {
			if (k > 5000)
				DIE("process %u does not stop", proc[i].pid);
			prog_sleep_ms(1);
		}
}

/* An address says which port; a transport that does without takes its own. */
static const char *addr_of_hold(const char *addr)
{
	char usable[MITOSIS_TRANSPORTS_LEN];

	OK(mitosis_usable(ctl, NULL, insecure(), usable), "transports");
	return strncmp(usable, "dct", 3) ? addr : NULL;
}

static void lazify(const char *addr, long drain_ms, char **pids, int n)
{
	struct mitosis_proc proc[64];
	uint8_t key[MITOSIS_KEY_LEN];
	struct runs runs[64];
	struct mitosis_where where;
	uint64_t id, held = 0;
	struct mitosis_arm arm = { .flags = getenv("CACHE") ? MITOSIS_ATTACH_F_CACHE : 0 };

	if (n > 64)
		DIE("too many processes");
	if (getenv("PREFETCH") && mitosis_prefetch_parse(getenv("PREFETCH"), &arm))
		DIE("PREFETCH=%s is no policy", getenv("PREFETCH"));
	stop_all(proc, pids, n);
	OK(mitosis_hold_create(ctl, NULL, addr_of_hold(addr), "lazify", 0,
			       MITOSIS_HOLD_F_ONESHOT | insecure(), &id, key, &where),
	   "hold");
	printf("%016llx\n", (unsigned long long)id);
	for (int i = 0; i < n; i++) {
		runs_find(proc[i].pid, &runs[i]);
		OK(mitosis_hold_mm(ctl, id, proc[i].pid, &proc[i], NULL), "hold mm");
		OK(mitosis_hold_pages(ctl, id, proc[i].pid, runs[i].run, runs[i].n), "hold pages");
		for (size_t k = 0; k < runs[i].n; k++)
			held += runs[i].run[k].npages;
	}
	OK(mitosis_hold_seal(ctl, id), "seal");
	if (getenv("LINK_PORT"))
		where.port = atoi(getenv("LINK_PORT"));
	OK(mitosis_link_open(ctl, id, key, &where, NULL, 0), "link");
	for (int i = 0; i < n; i++) {
		struct regions rs = { .mm = proc[i].pid };

		OK(mitosis_region_get(ctl, id, region_add, &rs), "regions");
		beyond(&runs[i], &rs);
		OK(mitosis_attach_add(ctl, id, proc[i].pid, 0, runs[i].run, runs[i].n, rs.region,
				      rs.n),
		   "attach");
		OK(mitosis_attach_arm(ctl, id, proc[i].pid, &proc[i], &arm), "arm");
	}
	for (int i = 0; i < n; i++)
		kill(proc[i].pid, SIGCONT);
	fprintf(stderr, "lazy: %llu pages of %d processes, snapshot %016llx\n",
		(unsigned long long)held, n, (unsigned long long)id);
	if (drain_ms < 0)
		return;
	prog_sleep_ms(drain_ms);
	mitosis_link_drain(ctl, id);
}

/* What a restore does, with a socket of its own, that stays open as long as we live. */
static int child_attach(uint64_t id, const uint8_t *key, const struct mitosis_where *where,
			uint32_t mm, const struct runs *runs, const struct mitosis_proc *child,
			bool first)
{
	struct mitosis_arm arm = { .flags = MITOSIS_ATTACH_F_CACHE };
	struct regions rs = { .mm = mm };
	char err[MITOSIS_ERROR_LEN];
	int ret;

	ctl = mitosis_open(err, sizeof(err));
	if (!ctl)
		DIE("%s", err);
	nth_set(first ? "link" : "join");
	ret = mitosis_link_open(ctl, id, key, where, NULL, 0);
	nth_look();
	if (ret && ret != -EEXIST) {
		fprintf(stderr, "link: %s (%s)\n", mitosis_error(ctl), strerror(-ret));
		return ret;
	}
	OK(mitosis_region_get(ctl, id, region_add, &rs), "regions");
	ret = TRY(mitosis_attach_add(ctl, id, mm, 0, runs->run, runs->n, rs.region, rs.n),
		  first ? "attach" : "second attach");
	return ret ?: TRY(mitosis_attach_arm(ctl, id, mm, child, &arm),
			  first ? "arm" : "second arm");
}

static pid_t fork_stopped[64];

/* Whatever has happened: who is still there goes on. */
static void fork_go_on(void)
{
	for (pid_t *p = fork_stopped; *p; p++)
		kill(*p, SIGCONT);
}

/* Whether a child could not be had. */
static bool fork_by_hand(const char *addr, char **pids, int n)
{
	struct mitosis_proc proc[63];
	uint8_t key[MITOSIS_KEY_LEN];
	bool failed = false;
	struct runs runs;
	struct mitosis_where where;
	uint64_t id;

	if (n > 63)
		DIE("too many processes");
	stop_all(proc, pids, n);
	for (int i = 0; i < n; i++)
		fork_stopped[i] = proc[i].pid;
	atexit(fork_go_on);
	runs_find(proc[0].pid, &runs);
	OK(mitosis_hold_create(ctl, NULL, addr_of_hold(addr), "fork", 0, insecure(), &id, key,
			       &where),
	   "hold");
	OK(mitosis_hold_mm(ctl, id, proc[0].pid, &proc[0], &proc[1]), "hold mm");
	kill(proc[1].pid, SIGKILL);
	OK(mitosis_hold_pages(ctl, id, proc[0].pid, runs.run, runs.n), "hold pages");
	OK(mitosis_hold_seal(ctl, id), "seal");
	printf("%016llx\n", (unsigned long long)id);
	kill(proc[0].pid, SIGCONT);
	for (int i = 2; i < n; i++) {
		if (!child_attach(id, key, &where, proc[0].pid, &runs, &proc[i], i == 2))
			continue;
		kill(proc[i].pid, SIGKILL);
		failed = true;
	}
	return failed;
}

static void link_once(uint64_t id, const char *hex, const char *addr, int port)
{
	struct mitosis_where where = { .port = port, .insecure = insecure() };
	uint8_t key[MITOSIS_KEY_LEN];

	snprintf(where.addr, sizeof(where.addr), "%s", addr);
	if (getenv("TRANSPORT"))
		snprintf(where.transport, sizeof(where.transport), "%s", getenv("TRANSPORT"));
	key_parse(hex, key);
	OK(mitosis_link_open(ctl, id, key, &where, NULL, 0), "link");
	if (getenv("STAY"))
		getchar();
	OK(mitosis_link_close(ctl, id), "close");
}

/* Stands still until its memory is another's, and looks at it. */
static pid_t reader_start(const struct mitosis_run *run)
{
	void *at = (void *)(uintptr_t)run->start;
	size_t len = run->npages * PAGE;
	pid_t pid = fork();
	int status;

	if (!pid) {
		if (mmap(at, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != at)
			DIE("there is something at %p: %s", at, strerror(errno));
		raise(SIGSTOP);
		printf("read %#lx\n", (unsigned long)*(volatile uint64_t *)at);
		exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
		DIE("the reader does not stop");
	return pid;
}

static void read_once(uint64_t id, const char *hex, const char *dct, const struct mitosis_run *run,
		      uint32_t rkey)
{
	struct mitosis_region region = { .start = run->start, .npages = run->npages, .rkey = rkey };
	struct mitosis_where where = { .addr = "" };
	uint8_t key[MITOSIS_KEY_LEN];
	struct mitosis_proc proc;
	int ret, status;
	pid_t pid;

	key_parse(hex, key);
	dct_parse(dct, &where.dct);
	ret = mitosis_link_open(ctl, id, key, &where, NULL, 0);
	if (ret) {
		if (ret == -EACCES)
			printf("refused\n");
		else
			printf("error: %s\n", mitosis_error(ctl));
		return;
	}
	pid = reader_start(run);
	proc_get(pid, &proc);
	OK(mitosis_attach_add(ctl, id, pid, 0, run, 1, &region, 1), "attach");
	OK(mitosis_attach_arm(ctl, id, pid, &proc, &(struct mitosis_arm){ 0 }), "arm");
	kill(pid, SIGCONT);
	if (waitpid(pid, &status, 0) != pid)
		DIE("the reader is gone");
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		printf("killed\n");
	else if (status)
		DIE("the reader ends with status %#x", status);
}

static void stat_print(const char *name)
{
	uint64_t stats[__MITOSIS_STAT_MAX];

	OK(mitosis_stats(ctl, stats, NULL), "stats");
	for (unsigned int i = 0; i < __MITOSIS_STAT_MAX; i++)
		if (!strcmp(mitosis_stat_name(i), name)) {
			printf("%llu\n", (unsigned long long)stats[i]);
			return;
		}
	DIE("there is no counter %s", name);
}

static uint64_t rng;

static uint32_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng >> 16;
}

static void fuzz(uint64_t seed, int n)
{
	struct nl_sock *sk = nl_socket_alloc();
	int family, done = 0, refused = 0;

	rng = seed * 0x9e3779b97f4a7c15ULL + 1;
	if (!sk || genl_connect(sk) || (family = genl_ctrl_resolve(sk, MITOSIS_GENL_NAME)) < 0)
		DIE("the module's netlink family is not there");
	for (int i = 0; i < n; i++) {
		uint8_t cmd = rnd() % (__MITOSIS_CMD_MAX + 2);
		struct nl_msg *msg = nlmsg_alloc_size(65536);
		int flags = NLM_F_REQUEST | NLM_F_ACK | (rnd() % 4 ? 0 : NLM_F_DUMP), ret;

		genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, flags, cmd,
			    rnd() % 16 ? 1 : rnd());
		for (int k = rnd() % 12; k > 0; k--) {
			static uint8_t buf[40000];
			/* Mostly plausible lengths, sometimes far from it. */
			int len = rnd() % 8 ? (int[]){ 1, 2, 4, 8, 16, 32, 64, 24 }[rnd() % 8] :
					      (int)(rnd() % (rnd() % 4 ? 200 : sizeof(buf)));

			for (int b = 0; b < len; b++)
				buf[b] = rnd() % 3 ? rnd() : 0;
			if (rnd() % 4 == 0 && len >= 8)
				memcpy(buf,
				       &(uint64_t[]){ 0x7f0000000000, ~0xfffULL, PAGE,
						      getpid() }[rnd() % 4],
				       8);
			nla_put(msg, rnd() % (__MITOSIS_A_MAX + 2), len, buf);
		}
		ret = nl_send_auto(sk, msg);
		nlmsg_free(msg);
		if (ret < 0)
			continue;
		/* Dumps end by themselves, everything else is acknowledged. */
		ret = nl_recvmsgs_default(sk);
		done++;
		refused += ret < 0;
	}
	printf("%d messages, %d refused\n", done, refused);
	if (done < n / 2)
		DIE("most messages could not be sent");
}

int main(int argc, char **argv)
{
	const char *cmd = argc > 1 ? argv[1] : "";
	bool failed = false;
	char err[MITOSIS_ERROR_LEN];

	ctl = mitosis_open(err, sizeof(err));
	if (!ctl)
		DIE("%s", err);
	if (!strcmp(cmd, "fail") && argc > 4) {
		nth_what = argv[2];
		nth = atoi(argv[3]);
		nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
		if (nth_fd < 0)
			DIE("fail-nth: %s", strerror(errno));
		argv += 3;
		argc -= 3;
		cmd = argv[1];
	}
	if (!strcmp(cmd, "hold") && argc >= 6)
		hold(argv + 2, argc - 2);
	else if (!strcmp(cmd, "release") && argc == 3)
		OK(mitosis_release(ctl, strtoull(argv[2], NULL, 16)), "release");
	else if (!strcmp(cmd, "lazify") && argc >= 5)
		lazify(argv[2], atol(argv[3]), argv + 4, argc - 4);
	else if (!strcmp(cmd, "fork") && argc >= 5)
		failed = fork_by_hand(argv[2], argv + 3, argc - 3);
	else if (!strcmp(cmd, "drain") && argc == 3)
		OK(mitosis_link_drain(ctl, strtoull(argv[2], NULL, 16)), "drain");
	else if (!strcmp(cmd, "close") && argc == 3)
		OK(mitosis_link_close(ctl, strtoull(argv[2], NULL, 16)), "close");
	else if (!strcmp(cmd, "link") && argc == 6)
		link_once(strtoull(argv[2], NULL, 16), argv[3], argv[4], atoi(argv[5]));
	else if (!strcmp(cmd, "regions") && argc == 3)
		OK(mitosis_region_get(ctl, strtoull(argv[2], NULL, 16), region_print, NULL),
		   "regions");
	else if (!strcmp(cmd, "read") && argc == 8)
		read_once(strtoull(argv[2], NULL, 16), argv[3], argv[4],
			  &(struct mitosis_run){ .start = strtoull(argv[5], NULL, 0),
						 .npages = strtoull(argv[6], NULL, 0) },
			  strtoul(argv[7], NULL, 0));
	else if (!strcmp(cmd, "stat") && argc == 3)
		stat_print(argv[2]);
	else if (!strcmp(cmd, "fuzz") && argc == 4)
		fuzz(atoll(argv[2]), atoi(argv[3]));
	else
		DIE("see the source for what it takes");
	mitosis_close(ctl);
	return failed ? 1 : nth_was_left ? 3 : 0;
}
