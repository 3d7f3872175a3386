// SPDX-License-Identifier: MIT
/*
 * mitosis_plugin.so for stock CRIU. Dump: memory stays where it is, held by mitosis.ko. Restore: mitosis.ko
 * brings it in.
 *
 * Settings come by environment:
 *
 *	MITOSIS_ADDR		dump: address that destinations reach over RDMA; default: the first one that has a device
 *	MITOSIS_ONESHOT=1	dump: let go of the memory when a destination has drained
 *	MITOSIS_LEASE		dump: seconds until the memory is let go of
 *	MITOSIS_GIVE_UP		restore: seconds without the source until processes are killed
 *	MITOSIS_NO_DRAIN=1	restore: somebody else starts the drain
 *	MITOSIS_FENCE		restore: cgroup v2 directory of criu and all that it starts; frozen when memory is attached, so that nothing
 *				runs before its maker thaws it
 *	MITOSIS_FENCE_HOME	restore: cgroup v2 directory that criu itself moves to before that
 */
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <criu-plugin.h>

#include "images/mitosis_image.h"
#include "images/pagemap.h"
#include "lib/mitosis.h"
#include "mitosis-criu-plugin/finish.h"

/* Where the configuration file's ps-socket option points. */
#define PLUGIN_PS_SOCKET 1000

#ifndef PTRACE_GET_RSEQ_CONFIGURATION
#define PTRACE_GET_RSEQ_CONFIGURATION 0x420f
struct __ptrace_rseq_configuration {
	uint64_t rseq_abi_pointer;
	uint32_t rseq_abi_size;
	uint32_t signature;
	uint32_t flags;
	uint32_t pad;
};
#endif

/* Exported by criu (it is linked with -rdynamic); declared in compel's headers, which Debian does not package. */
struct parasite_ctl;
extern struct parasite_ctl *compel_prepare(int pid);
extern int compel_syscall(struct parasite_ctl *ctl, int nr, long *ret, unsigned long arg1,
			  unsigned long arg2, unsigned long arg3, unsigned long arg4,
			  unsigned long arg5, unsigned long arg6);

static struct {
	struct mitosis *ctl;
	struct mitosis_image *img;	/* dump: being made; restore: what was read. NULL: not a dump of ours */
	size_t attached;		/* restore */
	bool failed;
	bool fenced;
} plugin;

__attribute__((format(printf, 1, 2)))
static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("mitosis: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

static const char *setting(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

static uint32_t setting_u32(const char *name)
{
	const char *value = setting(name);

	return value ? strtoul(value, NULL, 10) : 0;
}

/* The innermost pid: what CRIU's images call the process. */
static uint32_t plugin_vpid(int pid)
{
	char path[64], line[256], *last;
	uint32_t vpid = pid;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "NSpid:", 6))
			continue;
		last = strrchr(line, '\t');
		if (last)
			vpid = strtoul(last + 1, NULL, 10);
		break;
	}
	fclose(f);
	return vpid;
}

/* CRIU's page server, as it sees it: one that has gone home. Pages are then described, not sent. */
static int plugin_page_server(void)
{
	int p[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p)) {
		say("no socket for criu's page server option: %s", strerror(errno));
		return -1;
	}
	close(p[1]);
	if (dup2(p[0], PLUGIN_PS_SOCKET) < 0) {
		say("descriptor %d, where the page server option points, cannot be opened: %s; raise the limit of open files (ulimit -n)",
		    PLUGIN_PS_SOCKET, strerror(errno));
		close(p[0]);
		return -1;
	}
	close(p[0]);
	return 0;
}

static int dump_init(void)
{
	char addr[MITOSIS_ADDR_LEN], host[MITOSIS_IMAGE_MAX_HOST] = "", err[MITOSIS_ERROR_LEN];
	const char *want = setting("MITOSIS_ADDR");
	uint32_t flags = setting("MITOSIS_ONESHOT") ? MITOSIS_HOLD_F_ONESHOT : 0;

	if (plugin_page_server())
		return -1;
	if (want) {
		snprintf(addr, sizeof(addr), "%s", want);
	} else if (mitosis_default_addr(addr)) {
		say("no network device with an RDMA device has an address: see rdma link and ip addr, or set MITOSIS_ADDR");
		return -1;
	}
	plugin.img = mitosis_image_new();
	if (!plugin.img || mitosis_image_add_addr(plugin.img, addr)) {
		say("out of memory");
		return -1;
	}
	gethostname(host, sizeof(host) - 1);
	plugin.img->host = strdup(host);
	plugin.img->created = time(NULL);
	plugin.img->flags = flags;
	if (mitosis_hold_create(plugin.ctl, addr, host, setting_u32("MITOSIS_LEASE"), flags,
				&plugin.img->snapshot, plugin.img->key, &plugin.img->port)) {
		say("%s", mitosis_error(plugin.ctl));
		return -1;
	}
	/* Recorded at once, so that a step in another process knows the snapshot. */
	if (mitosis_image_write(criu_get_image_dir(), plugin.img, err, sizeof(err))) {
		say("%s", err);
		return -1;
	}
	return 0;
}

/* The bytes that compel may swap for its own: the first executable mapping, when it is anonymous. */
struct plugin_code {
	unsigned long start;
	size_t len;
	uint8_t *bytes;
};

static int plugin_mem_open(int pid, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	return open(path, flags | O_CLOEXEC);
}

static int plugin_code_save(int pid, struct plugin_code *code)
{
	char path[32], line[512];
	unsigned long start, end, inode;
	char perms[8];
	FILE *f;
	int fd;

	memset(code, 0, sizeof(*code));
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %7s %*x %*x:%*x %lu", &start, &end, perms, &inode) != 4 ||
		    perms[2] != 'x')
			continue;
		if (!inode) {
			code->start = start;
			code->len = end - start < 4096 ? end - start : 4096;
		}
		break;
	}
	fclose(f);
	if (!code->len)
		return 0;
	code->bytes = malloc(code->len);
	fd = plugin_mem_open(pid, O_RDONLY);
	if (!code->bytes || fd < 0 ||
	    pread(fd, code->bytes, code->len, code->start) != (ssize_t)code->len) {
		if (fd >= 0)
			close(fd);
		free(code->bytes);
		return -1;
	}
	close(fd);
	return 0;
}

static int plugin_code_repair(int pid, const struct plugin_code *code)
{
	ssize_t n;
	int fd;

	if (!code->len)
		return 0;
	fd = plugin_mem_open(pid, O_RDWR);
	if (fd < 0)
		return -1;
	n = pwrite(fd, code->bytes, code->len, code->start);
	close(fd);
	return n == (ssize_t)code->len ? 0 : -1;
}

/*
 * Has the stopped task clone itself: a copy-on-write picture of its memory that neither its going on nor its end can change.
 * No exit signal, no CLEARTID or SETTID: the end of the clone must not be seen, and must not write.
 */
static int dump_clone_and_hold(int pid, uint32_t vpid)
{
	struct mitosis_proc proc, clone_proc;
	struct plugin_code code;
	struct parasite_ctl *pctl;
	long nspid = 0, reaped = 0;
	pid_t clone;
	int ret = -1, status;

	if (mitosis_proc_get(pid, &proc, NULL) || plugin_code_save(pid, &code)) {
		say("process %d cannot be looked at: %s", pid, strerror(errno));
		return -1;
	}
	pctl = compel_prepare(pid);
	if (!pctl || compel_syscall(pctl, __NR_clone, &nspid, CLONE_PTRACE, 0, 0, 0, 0, 0) ||
	    nspid <= 0) {
		say("process %d cannot be cloned (%s): check RLIMIT_NPROC, pids.max and vm.overcommit_memory",
		    pid, nspid < 0 ? strerror(-nspid) : "criu could not inject the call");
		goto out;
	}
	/* In a pid namespace its number is not ours: then it is the only tracee that has something to tell. */
	do {
		clone = waitpid(vpid == (uint32_t)pid ? nspid : -1, &status, __WALL);
	} while (clone < 0 && errno == EINTR);
	if (clone <= 0 || !WIFSTOPPED(status)) {
		say("the clone of process %d does not stop", pid);
		goto out;
	}
	if (plugin_code_repair(clone, &code) || mitosis_proc_get(clone, &clone_proc, NULL)) {
		say("the clone of process %d cannot be looked at: %s", pid, strerror(errno));
	} else if (mitosis_hold_mm(plugin.ctl, plugin.img->snapshot, vpid, &proc, &clone_proc)) {
		say("%s", mitosis_error(plugin.ctl));
	} else {
		ret = 0;
	}
	kill(clone, SIGKILL);
	while (waitpid(clone, &status, __WALL) < 0 && errno == EINTR)
		;
	/* its parent is the task: without this it would find a zombie */
	if (compel_syscall(pctl, __NR_wait4, &reaped, nspid, 0, __WALL, 0, 0, 0)) {
		say("the clone of process %d is left as a zombie", pid);
		ret = -1;
	}
out:
	free(code.bytes);
	return ret;
}

static int plugin_checkpoint(int pid)
{
	char err[MITOSIS_ERROR_LEN];
	uint32_t vpid = plugin_vpid(pid);

	if (!plugin.img)
		return -ENOTSUP;
	if (!vpid) {
		say("process %d has gone", pid);
		return -1;
	}
	if (!mitosis_image_add_mm(plugin.img, vpid)) {
		if (errno == EEXIST)
			return -ENOTSUP;
		say("out of memory");
		return -1;
	}
	if (dump_clone_and_hold(pid, vpid))
		return -1;
	if (mitosis_image_write(criu_get_image_dir(), plugin.img, err, sizeof(err))) {
		say("%s", err);
		return -1;
	}
	return -ENOTSUP;
}

/*
 * Too late for criu to notice a failure: after this it kills the tasks. So when the memory cannot be held leave at once:
 * the tasks go on as their tracer goes.
 */
static void dump_fini(int ret)
{
	char err[MITOSIS_ERROR_LEN];
	void (*unlock)(void);

	if (ret) {
		mitosis_release(plugin.ctl, plugin.img->snapshot);
		mitosis_image_remove(criu_get_image_dir());
		return;
	}
	if (!mitosis_dump_finish(plugin.ctl, criu_get_image_dir(), NULL, err, sizeof(err)))
		return;
	say("the memory cannot be held: %s", err);
	say("the process runs on, the images are of no use");
	mitosis_release(plugin.ctl, plugin.img->snapshot);
	mitosis_image_remove(criu_get_image_dir());
	unlock = (void (*)(void))dlsym(RTLD_DEFAULT, "network_unlock");
	if (unlock)
		unlock();
	fflush(NULL);
	_exit(1);
}

static int restore_strip(void)
{
	char err[MITOSIS_ERROR_LEN], name[PAGEMAP_NAME_LEN];
	void *buf;
	size_t i, len;

	for (i = 0; i < plugin.img->nmms; i++) {
		struct mitosis_image_mm *mm = &plugin.img->mms[i];

		pagemap_name(mm->pid, name);
		if (pagemap_strip(mm->pagemap, mm->pagemap_len, &buf, &len, err, sizeof(err)) ||
		    mitosis_file_write(criu_get_image_dir(), name, buf, len, err, sizeof(err))) {
			say("%s", err);
			return -1;
		}
		free(buf);
	}
	return 0;
}

static void restore_unstrip(void)
{
	char name[PAGEMAP_NAME_LEN];
	size_t i;

	for (i = 0; i < plugin.img->nmms; i++) {
		pagemap_name(plugin.img->mms[i].pid, name);
		unlinkat(criu_get_image_dir(), name, 0);
	}
}

static int restore_init(void)
{
	char err[MITOSIS_ERROR_LEN];
	size_t i;
	int ret;

	ret = mitosis_image_read(criu_get_image_dir(), &plugin.img, err, sizeof(err));
	if (ret == -ENOENT)
		return 0;
	if (ret) {
		say("%s", err);
		return -1;
	}
	if (plugin.img->state != MITOSIS_IMAGE_SEALED) {
		say("the dump that made these images did not end: dump again");
		return -1;
	}
	plugin.ctl = mitosis_open(err, sizeof(err));
	if (!plugin.ctl) {
		say("%s", err);
		return -1;
	}
	ret = -1;
	for (i = 0; i < plugin.img->naddrs && ret; i++)
		ret = mitosis_link_open(plugin.ctl, plugin.img->snapshot, plugin.img->key,
					plugin.img->addrs[i], plugin.img->port, NULL,
					setting_u32("MITOSIS_GIVE_UP"));
	if (ret) {
		say("%s", mitosis_error(plugin.ctl));
		return -1;
	}
	return restore_strip();
}

struct restore_lists {
	struct mitosis_run *eager;
	struct mitosis_keep *keep;
	size_t neager, nkeep, room;
};

static int lists_room(struct restore_lists *l)
{
	void *p;

	if (l->neager + 4 < l->room && l->nkeep + 4 < l->room)
		return 0;
	l->room = l->room ? l->room * 2 : 64;
	p = reallocarray(l->eager, l->room, sizeof(*l->eager));
	if (!p)
		return -1;
	l->eager = p;
	p = reallocarray(l->keep, l->room, sizeof(*l->keep));
	if (!p)
		return -1;
	l->keep = p;
	return 0;
}

static void lists_eager(struct restore_lists *l, uint64_t addr, uint64_t len)
{
	uint64_t first = addr & ~4095ULL, last = (addr + (len ? len - 1 : 0)) & ~4095ULL;

	if (addr && l->neager < MITOSIS_MAX_ARRAY)
		l->eager[l->neager++] = (struct mitosis_run){ first, (last - first) / 4096 + 1 };
}

/*
 * What a thread needs before its first instruction, and what the kernel and criu have put into its memory already: rseq. Its
 * field "flags" (bytes 16 to 20) is the program's, the rest is the kernel's and, rseq_cs, criu's.
 */
static int restore_thread(struct restore_lists *l, int tid)
{
	struct __ptrace_rseq_configuration rseq = {};
	struct { uint64_t head, len; } robust = {};

	if (lists_room(l))
		return -1;
	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(rseq), &rseq) > 0 &&
	    rseq.rseq_abi_pointer) {
		uint64_t p = rseq.rseq_abi_pointer, end = p + rseq.rseq_abi_size;

		lists_eager(l, p, rseq.rseq_abi_size);
		l->keep[l->nkeep++] = (struct mitosis_keep){ p, 16 };
		if (end > p + 20)
			l->keep[l->nkeep++] = (struct mitosis_keep){ p + 20, end - p - 20 };
	}
	if (!syscall(__NR_get_robust_list, tid, &robust.head, &robust.len))
		lists_eager(l, robust.head, robust.len);
	return 0;
}

static int restore_attach(int pid, struct mitosis_image_mm *mm)
{
	char err[MITOSIS_ERROR_LEN], path[64];
	struct restore_lists l = {};
	struct mitosis_run *runs = NULL;
	struct mitosis_proc proc;
	struct dirent *e;
	size_t nruns = 0;
	int ret = -1;
	DIR *d;

	if (pagemap_lazy_runs(mm->pagemap, mm->pagemap_len, &runs, &nruns, err, sizeof(err))) {
		say("%s", err);
		return -1;
	}
	if (!nruns) {
		free(runs);
		return 0;
	}
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d || mitosis_proc_get(pid, &proc, NULL)) {
		say("restored process %d has gone", pid);
		goto out;
	}
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && restore_thread(&l, atoi(e->d_name))) {
			say("out of memory");
			goto out;
		}
	if (mitosis_attach_add(plugin.ctl, plugin.img->snapshot, mm->pid, runs, nruns, mm->regions,
			       mm->nregions) ||
	    mitosis_attach_arm(plugin.ctl, plugin.img->snapshot, mm->pid, &proc, l.eager, l.neager,
			       l.keep, l.nkeep)) {
		say("%s", mitosis_error(plugin.ctl));
		goto out;
	}
	ret = 0;
out:
	if (d)
		closedir(d);
	free(runs);
	free(l.eager);
	free(l.keep);
	return ret;
}

static int cgroup_write(const char *dir, const char *file, const char *text)
{
	char path[PATH_MAX];
	int fd, ret = 0;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		ret = -1;
	if (ret)
		say("%s cannot be written (%s): is cgroup v2 mounted and is this process root?", path,
		    strerror(errno));
	if (fd >= 0)
		close(fd);
	return ret;
}

/* From here on no task of the tree can run, whatever becomes of criu. */
static int restore_fence(void)
{
	const char *fence = setting("MITOSIS_FENCE"), *home = setting("MITOSIS_FENCE_HOME");
	char pid[16];

	if (!fence || plugin.fenced)
		return 0;
	snprintf(pid, sizeof(pid), "%d", getpid());
	if (!home || cgroup_write(home, "cgroup.procs", pid) ||
	    cgroup_write(fence, "cgroup.freeze", "1"))
		return -1;
	plugin.fenced = true;
	return 0;
}

static int plugin_resume_late(int pid)
{
	struct mitosis_image_mm *mm;

	if (!plugin.img)
		return -ENOTSUP;
	if (plugin.failed) {
		kill(pid, SIGKILL);
		return -1;
	}
	mm = mitosis_image_find_mm(plugin.img, plugin_vpid(pid));
	if (restore_fence() || !mm || restore_attach(pid, mm)) {
		if (!mm)
			say("process %d is not in the descriptor", pid);
		/* criu goes on regardless: it fails when it cannot let go of a task that is dead */
		plugin.failed = true;
		kill(pid, SIGKILL);
		return -1;
	}
	plugin.attached++;
	if (plugin.attached == plugin.img->nmms && !setting("MITOSIS_NO_DRAIN") &&
	    mitosis_link_drain(plugin.ctl, plugin.img->snapshot))
		say("%s", mitosis_error(plugin.ctl));
	return -ENOTSUP;
}

static int plugin_init(int stage)
{
	char err[MITOSIS_ERROR_LEN];

	if (stage == CR_PLUGIN_STAGE__RESTORE)
		return restore_init();
	if (stage != CR_PLUGIN_STAGE__DUMP)
		return 0;
	plugin.ctl = mitosis_open(err, sizeof(err));
	if (!plugin.ctl) {
		say("%s", err);
		return -1;
	}
	return dump_init();
}

static void plugin_fini(int stage, int ret)
{
	bool failed = plugin.failed;

	if (plugin.img && stage == CR_PLUGIN_STAGE__DUMP && plugin.img->snapshot)
		dump_fini(ret);
	if (plugin.img && stage == CR_PLUGIN_STAGE__RESTORE) {
		restore_unstrip();
		if (ret && plugin.ctl)
			mitosis_link_close(plugin.ctl, plugin.img->snapshot);
	}
	mitosis_image_free(plugin.img);
	if (plugin.ctl)
		mitosis_close(plugin.ctl);
	memset(&plugin, 0, sizeof(plugin));
	if (failed && !ret) {
		say("the restored processes have been killed");
		fflush(NULL);
		_exit(1);
	}
}

CR_PLUGIN_REGISTER("mitosis", plugin_init, plugin_fini)
CR_PLUGIN_REGISTER_HOOK(CR_PLUGIN_HOOK__CHECKPOINT_DEVICES, plugin_checkpoint)
CR_PLUGIN_REGISTER_HOOK(CR_PLUGIN_HOOK__RESUME_DEVICES_LATE, plugin_resume_late)
