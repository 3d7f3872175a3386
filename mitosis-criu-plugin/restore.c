// SPDX-License-Identifier: MIT
/*
 * Restore. criu reads pagemap images without the lazy pages, which are made for it from mitosis.img
 * and go away again as soon as they have been read: found by a criu without the plugin they would
 * give zeros. When all tasks are in place and stopped, their memory is attached. criu takes no
 * notice of what that hook says, but it fails when it can not let go of a task because it is dead:
 * so all of them are killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "images/pagemap.h"
#include "images/record.h"
#include "mitosis-criu-plugin/offer.h"
#include "mitosis-criu-plugin/plugin.h"

#define RESTORE_REAP_MS	10000

#define TLS_HEAD	4096	/* bytes from the thread pointer on */

/* struct rseq: what the kernel writes lies before and behind "flags", which is the program's. */
#define RSEQ_FLAGS	16
#define RSEQ_FLAGS_END	20

static struct {
	struct mitosis *ctl;
	struct mitosis_image *img;	/* NULL: not a dump of ours */
	int lock;			/* mitosis.img, shared by all who need the pagemaps */
	bool pagemaps;			/* have been made */
	bool link;			/* was opened here, so that it is closed here */
	bool fenced;
	bool failed;
	pid_t *pids;			/* seen so far */
	size_t npids;
	size_t attached;
	struct mitosis_arm policy;	/* without ranges */
	struct record record;
	/* CLOCK_MONOTONIC, ms; see MITOSIS_PHASES */
	uint64_t began, linked, restored, armed;
} restore = { .lock = -1 };

static uint64_t restore_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static int restore_out_of_memory(void)
{
	plugin_say("the processes can not be restored: no memory is left");
	return -ENOMEM;
}

static int restore_pagemaps_make(void)
{
	char err[MITOSIS_ERROR_LEN], name[PAGEMAP_NAME_LEN];
	int dirfd = criu_get_image_dir(), ret = 0;
	size_t i;

	restore.lock = openat(dirfd, MITOSIS_IMAGE_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (restore.lock < 0 || flock(restore.lock, LOCK_SH)) {
		ret = -errno;
		plugin_say(MITOSIS_IMAGE_NAME
			   " can not be locked (%s): copy the images to another file system",
			   strerror(-ret));
		return ret;
	}
	restore.pagemaps = true;
	for (i = 0; i < restore.img->nmms && !ret; i++) {
		const struct mitosis_image_mm *mm = &restore.img->mms[i];

		pagemap_name(mm->pid, name);
		ret = mitosis_file_write(dirfd, name, mm->pagemap, mm->pagemap_len, false, err,
					 sizeof(err));
	}
	if (ret)
		plugin_say("%s", err);
	return ret;
}

static void restore_pagemaps_remove(void)
{
	char name[PAGEMAP_NAME_LEN];
	size_t i;

	/*
	 * Another restore from the same directory may be about to read them: the last one removes
	 * them.
	 */
	if (restore.pagemaps && !flock(restore.lock, LOCK_EX | LOCK_NB)) {
		for (i = 0; i < restore.img->nmms; i++) {
			pagemap_name(restore.img->mms[i].pid, name);
			unlinkat(criu_get_image_dir(), name, 0);
		}
	}
	restore.pagemaps = false;
	if (restore.lock >= 0)
		close(restore.lock);
	restore.lock = -1;
}

/*
 * What is offered unencrypted is read only by who has been told to. Otherwise the module reads it
 * under TLS, whatever is offered.
 */
static int restore_may(bool insecure)
{
	if (!insecure || plugin_setting("MITOSIS_INSECURE"))
		return 0;
	plugin_say("the source offers its memory unencrypted over transport tcp: allow that with --insecure, or MITOSIS_INSECURE=1");
	return -EPERM;
}

/* They stay open until our socket is closed, and then as long as somebody reads from them. */
static int restore_parents_open(uint32_t give_up)
{
	int ret = 0;
	size_t i;

	for (i = 0; i < restore.img->nparents && !ret; i++) {
		const struct mitosis_image_parent *p = &restore.img->parents[i];

		struct mitosis_where where = {
			.insecure = p->insecure,
			.port = p->port,
			.dct = p->dct,
		};

		ret = restore_may(p->insecure);
		if (ret)
			break;
		snprintf(where.transport, sizeof(where.transport), "%s", p->transport);
		snprintf(where.addr, sizeof(where.addr), "%s", p->addr);
		ret = mitosis_link_open(restore.ctl, p->snapshot, p->key, &where, NULL, give_up);
		explicit_bzero(&where, sizeof(where));
		if (ret == -EEXIST)
			ret = 0;
		if (ret)
			plugin_say("%s; snapshot %016" PRIx64 " inherits pages from there",
				   mitosis_error(restore.ctl), restore.img->snapshot);
	}
	return ret;
}

static int restore_link_open(void)
{
	const char *transports = plugin_setting("MITOSIS_TRANSPORT");
	const struct mitosis_image *img = restore.img;
	const char *offered = mitosis_image_transport(img);
	char err[MITOSIS_ERROR_LEN];
	uint32_t give_up;
	int ret;

	if (transports && !mitosis_transports_have(transports, offered)) {
		plugin_say("the source offers its memory over transport %s, not over %s: prepare it there with --transport %s",
			   offered, transports, transports);
		return -EPROTONOSUPPORT;
	}

	ret = plugin_setting_u32("MITOSIS_GIVE_UP", &give_up) ?:
		      restore_may(img->flags & MITOSIS_F_INSECURE);
	if (ret)
		return ret;
	ret = mitosis_reach(restore.ctl, img, give_up, err, sizeof(err));
	/* The children of one source on a node share a link. */
	if (ret == -EEXIST)
		return restore_parents_open(give_up);
	restore.link = !ret;
	if (ret)
		plugin_say("%s", err);
	return ret ? ret : restore_parents_open(give_up);
}

static void restore_end(void)
{
	if (restore.img)
		restore_pagemaps_remove();
	mitosis_image_free(restore.img);
	restore.img = NULL;
	if (restore.ctl)
		mitosis_close(restore.ctl);
	restore.ctl = NULL;
	record_free(&restore.record);
	free(restore.pids);
	restore.pids = NULL;
	restore.npids = 0;
}

/*
 * The module is in the initial network namespace, and what is restored may be meant for another:
 * MITOSIS_NETNS is where the module is spoken to. A socket stays in the namespace that it was made
 * in.
 */
static struct mitosis *restore_open(char *err, size_t errlen)
{
	const char *where = plugin_setting("MITOSIS_NETNS");
	int home = -1, ns = -1, e;
	struct mitosis *ctl;

	if (!where)
		return mitosis_open(err, errlen);
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	ns = open(where, O_RDONLY | O_CLOEXEC);
	if (home < 0 || ns < 0 || setns(ns, CLONE_NEWNET)) {
		snprintf(err, errlen,
			 "network namespace %s can not be entered (%s): MITOSIS_NETNS must be a file such as /proc/1/ns/net",
			 where, strerror(errno));
		ctl = NULL;
	} else {
		ctl = mitosis_open(err, errlen);
		if (setns(home, CLONE_NEWNET)) {
			e = errno;
			snprintf(err, errlen,
				 "the network namespace of criu can not be entered again (%s)",
				 strerror(e));
			if (ctl)
				mitosis_close(ctl);
			ctl = NULL;
		}
	}
	if (home >= 0)
		close(home);
	if (ns >= 0)
		close(ns);
	return ctl;
}

/*
 * A source that waits for its one destination is told when all is there. Of a snapshot with many
 * children each is drained for itself: its siblings may be lazy.
 */
static bool restore_drains_link(void)
{
	return restore.img->flags & MITOSIS_HOLD_F_ONESHOT;
}

/* Without a file the module looks whether it knows what other children have touched. */
static int restore_record(void)
{
	char err[MITOSIS_ERROR_LEN];
	int ret;

	ret = record_read(criu_get_image_dir(), restore.img->snapshot, &restore.record, err,
			  sizeof(err));
	if (ret && ret != -ENOENT)
		plugin_say("%s", err);
	return ret == -ENOENT ? 0 : ret;
}

/* What the environment says of each process. */
static int restore_policy(struct mitosis_arm *arm)
{
	const char *prefetch = plugin_setting("MITOSIS_PREFETCH");

	if (plugin_setting("MITOSIS_CACHE"))
		arm->flags |= MITOSIS_ATTACH_F_CACHE;
	if (plugin_setting("MITOSIS_RECORD"))
		arm->flags |= MITOSIS_ATTACH_F_RECORD;
	if (!restore_drains_link() && !plugin_setting("MITOSIS_NO_DRAIN"))
		arm->flags |= MITOSIS_ATTACH_F_DRAIN;
	if (!prefetch || !mitosis_prefetch_parse(prefetch, arm))
		return arm->prefetch == MITOSIS_PREFETCH_RECORDED ? restore_record() : 0;
	plugin_say("MITOSIS_PREFETCH is %s: set it to none, window, window=N, sequential, sequential=N or recorded, N a power of two up to %d",
		   prefetch, MITOSIS_WINDOW_MAX);
	return -EINVAL;
}

int restore_init(void)
{
	char err[MITOSIS_ERROR_LEN];
	int ret;

	restore.began = restore_now();
	ret = mitosis_image_read(criu_get_image_dir(), &restore.img, err, sizeof(err));
	if (ret == -ENOENT)
		return 0;
	if (ret) {
		plugin_say("%s", err);
		return ret;
	}
	ret = -EINVAL;
	if (!check_and_remove_inventory_plugin) {
		plugin_say("this criu is older than 4.1: install criu 4.1 or newer");
		goto out;
	}
	if (restore.img->state != MITOSIS_IMAGE_SEALED) {
		plugin_say("the dump that made these images did not end: dump again");
		goto out;
	}
	restore.ctl = restore_open(err, sizeof(err));
	if (!restore.ctl) {
		plugin_say("%s", err);
		goto out;
	}
	ret = restore_policy(&restore.policy);
	if (!ret)
		ret = restore_link_open();
	restore.linked = restore_now();
	if (!ret)
		ret = restore_pagemaps_make();
	if (!ret)
		check_and_remove_inventory_plugin(PLUGIN_NAME, strlen(PLUGIN_NAME));
	/* criu does not call restore_fini() after this. */
	if (ret && restore.link)
		mitosis_link_close(restore.ctl, restore.img->snapshot);
out:
	if (ret)
		restore_end();
	return ret;
}

/*
 * Pages that are wanted before the first instruction, and bytes that restoring has put in their
 * place.
 */
struct restore_ranges {
	struct mitosis_run *eager;
	size_t neager, max_eager;
	struct mitosis_keep *keep;
	size_t nkeep, max_keep;
};

static int restore_add_eager(struct restore_ranges *r, uint64_t start, uint64_t len)
{
	uint64_t first = start & ~4095ULL, end = (start + len + 4095) & ~4095ULL;
	size_t max = r->max_eager ? 2 * r->max_eager : 64;
	struct mitosis_run *more;

	if (!start || !len || end <= first || end > MITOSIS_IMAGE_ADDR_END)
		return 0;
	if (r->neager == r->max_eager) {
		more = reallocarray(r->eager, max, sizeof(*more));
		if (!more)
			return -ENOMEM;
		r->eager = more;
		r->max_eager = max;
	}
	r->eager[r->neager++] = (struct mitosis_run){ first, (end - first) / 4096 };
	return 0;
}

static int restore_add_keep(struct restore_ranges *r, uint64_t start, uint64_t end)
{
	size_t max = r->max_keep ? 2 * r->max_keep : 64;
	struct mitosis_keep *more;
	uint64_t len;

	for (; start < end; start += len) {
		/* Not across a page. */
		len = (start & ~4095ULL) + 4096 - start;
		if (len > end - start)
			len = end - start;
		if (r->nkeep == r->max_keep) {
			more = reallocarray(r->keep, max, sizeof(*more));
			if (!more)
				return -ENOMEM;
			r->keep = more;
			r->max_keep = max;
		}
		r->keep[r->nkeep++] = (struct mitosis_keep){ start, len };
	}
	return 0;
}

static int restore_rseq(struct restore_ranges *r, pid_t tid)
{
	struct __ptrace_rseq_configuration rseq = {};
	uint64_t start, end;
	int ret;

	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, sizeof(rseq), &rseq) < 0 ||
	    !rseq.rseq_abi_pointer)
		return 0;
	start = rseq.rseq_abi_pointer;
	end = start + rseq.rseq_abi_size;
	if (rseq.rseq_abi_size < RSEQ_FLAGS_END || rseq.rseq_abi_size > 4096)
		return 0;
	ret = restore_add_eager(r, start, end - start);
	if (!ret)
		ret = restore_add_keep(r, start, start + RSEQ_FLAGS);
	if (!ret)
		ret = restore_add_keep(r, start + RSEQ_FLAGS_END, end);
	return ret;
}

static int restore_thread(pid_t tid, void *arg)
{
	struct user_regs_struct regs = {};
	struct restore_ranges *r = arg;
	uint64_t head = 0;
	size_t len = 0;
	int ret;

	ret = restore_rseq(r, tid);
	if (!ret && !ptrace(PTRACE_GETREGS, tid, NULL, &regs) && regs.fs_base)
		ret = restore_add_eager(r, regs.fs_base, TLS_HEAD);
	if (!ret && !syscall(SYS_get_robust_list, tid, &head, &len))
		ret = restore_add_eager(r, head, len);
	return ret;
}

static int restore_run_compare(const void *a, const void *b)
{
	const struct mitosis_run *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/*
 * Threads' TLS and rseq lie side by side. Pages beyond the limit come with the first touch, as any
 * other.
 */
static void restore_merge_eager(struct restore_ranges *r)
{
	size_t i, n = 0;

	if (!r->neager)
		return;
	qsort(r->eager, r->neager, sizeof(*r->eager), restore_run_compare);
	for (i = 1; i < r->neager; i++) {
		struct mitosis_run *last = &r->eager[n];
		uint64_t end = last->start + last->npages * 4096;
		uint64_t next = r->eager[i].start + r->eager[i].npages * 4096;

		if (r->eager[i].start > end)
			r->eager[++n] = r->eager[i];
		else if (next > end)
			last->npages = (next - last->start) / 4096;
	}
	r->neager = n + 1 > MITOSIS_MAX_ARRAY ? MITOSIS_MAX_ARRAY : n + 1;
}

static int restore_add_record(uint32_t mm)
{
	const struct record *r = &restore.record;
	struct mitosis_run part[64];
	size_t i, n = 0;
	int ret = 0;

	for (i = 0; i < r->nruns && !ret; i++) {
		if (r->runs[i].pid == mm)
			part[n++] = r->runs[i].run;
		if (n < sizeof(part) / sizeof(part[0]) && i + 1 < r->nruns)
			continue;
		ret = mitosis_attach_record(restore.ctl, restore.img->snapshot, mm, part, n);
		n = 0;
	}
	return ret;
}

static int restore_add_pages(uint32_t mm, uint64_t parent, const struct mitosis_image_pages *pages)
{
	return mitosis_attach_add(restore.ctl, restore.img->snapshot, mm, parent, pages->runs,
				  pages->nruns, pages->regions, pages->nregions);
}

static int restore_arm(pid_t pid, const struct mitosis_image_mm *mm)
{
	uint64_t snapshot = restore.img->snapshot;
	struct mitosis_arm arm = restore.policy;
	struct restore_ranges r = {};
	struct mitosis_proc proc;
	size_t i;
	int ret;

	ret = mitosis_proc_get(pid, &proc, NULL);
	if (!ret)
		ret = plugin_each_thread(pid, restore_thread, &r);
	if (ret) {
		plugin_say("restored process %d can not be looked at (%s): restore again", pid,
			   strerror(-ret));
		goto out;
	}
	restore_merge_eager(&r);
	arm.eager = r.eager;
	arm.neager = r.neager;
	arm.keep = r.keep;
	arm.nkeep = r.nkeep;
	ret = restore_add_pages(mm->pid, 0, &mm->pages);
	for (i = 0; i < mm->ninherited && !ret; i++)
		ret = restore_add_pages(mm->pid,
					restore.img->parents[mm->inherited[i].parent].snapshot,
					&mm->inherited[i].pages);
	if (!ret)
		ret = restore_add_record(mm->pid);
	if (!ret)
		ret = mitosis_attach_arm(restore.ctl, snapshot, mm->pid, &proc, &arm);
	if (ret)
		plugin_say("%s", mitosis_error(restore.ctl));
out:
	free(r.eager);
	free(r.keep);
	return ret;
}

static int restore_attach(pid_t pid)
{
	struct mitosis_image_mm *mm;

	mm = mitosis_image_find_mm(restore.img, mitosis_proc_inner_pid(pid));
	if (!mm) {
		plugin_say("restored process %d is not in " MITOSIS_IMAGE_NAME ": dump again", pid);
		return -ESRCH;
	}
	return mm->pages.nruns || mm->ninherited ? restore_arm(pid, mm) : 0;
}

static int restore_cgroup_write(const char *dir, const char *file, const char *text)
{
	char path[PATH_MAX];
	int fd, ret = 0;

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		ret = -errno;
	if (fd >= 0)
		close(fd);
	if (ret)
		plugin_say("%s can not be written (%s): MITOSIS_FENCE and MITOSIS_FENCE_HOME must be cgroup v2 directories",
			   path, strerror(-ret));
	return ret;
}

/*
 * From here on nothing of the tree can run, whatever becomes of criu, until the maker of the cgroup
 * thaws it. Tasks that are stopped for their tracer count as frozen.
 */
static int restore_fence(void)
{
	const char *fence = plugin_setting("MITOSIS_FENCE");
	const char *home = plugin_setting("MITOSIS_FENCE_HOME");
	char pid[16];
	int ret;

	if (!fence || restore.fenced)
		return 0;
	if (!home) {
		plugin_say("MITOSIS_FENCE is set and MITOSIS_FENCE_HOME is not: set it to the cgroup that criu is to move to");
		return -EINVAL;
	}
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	ret = restore_cgroup_write(home, "cgroup.procs", pid);
	if (!ret)
		ret = restore_cgroup_write(fence, "cgroup.freeze", "1");
	restore.fenced = !ret;
	return ret;
}

struct restore_reap {
	pid_t root;	/* criu waits for it */
	bool left;
};

/* One that its tracer, which we are in, may not have waited for yet. */
static int restore_reap_thread(pid_t tid, void *arg)
{
	struct restore_reap *r = arg;
	int status, ret;

	if (tid == r->root)
		return 0;
	ret = waitpid(tid, &status, __WALL | WNOHANG);
	r->left |= !ret || (ret > 0 && WIFSTOPPED(status));
	return 0;
}

/*
 * Criu waits for the root, if that is the first of a pid namespace, and for nobody else. But a
 * process can not be waited for before its threads, and the first of a namespace does not end
 * before all others have been waited for.
 */
static void restore_reap(void)
{
	struct restore_reap r = { .root = restore.pids[0], .left = true };
	int tries;
	size_t i;

	for (tries = 0; tries < RESTORE_REAP_MS && r.left; tries++) {
		r.left = false;
		for (i = 0; i < restore.npids; i++)
			plugin_each_thread(restore.pids[i], restore_reap_thread, &r);
		if (r.left)
			usleep(1000);
	}
}

/* All that have been seen: criu lets go of one after the other until it meets one that is dead. */
static void restore_kill(void)
{
	size_t i;

	/* They are criu's tracees: their pids are theirs until criu has waited for them. */
	for (i = 0; i < restore.npids; i++)
		kill(restore.pids[i], SIGKILL);
	if (restore.npids == restore.img->nmms)
		restore_reap();
}

static int restore_remember(pid_t pid)
{
	pid_t *more = reallocarray(restore.pids, restore.npids + 1, sizeof(*more));

	if (!more) {
		kill(pid, SIGKILL);
		return restore_out_of_memory();
	}
	restore.pids = more;
	more[restore.npids++] = pid;
	return 0;
}

/* Should criu die, the kernel kills the process, whose threads would run otherwise. */
static int restore_bind_thread(pid_t tid, void *arg)
{
	(void)arg;
	return ptrace(PTRACE_SETOPTIONS, tid, NULL, PTRACE_O_EXITKILL) ? -errno : 0;
}

/*
 * An engine's restore has no end at which everything stands still: here is the last moment before
 * something runs, and whoever has it restore decides.
 */
static int restore_gate(void)
{
	const char *path = plugin_setting("MITOSIS_GATE");
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char verdict = 0;
	int fd, ret = 0;
	size_t i;

	if (!path)
		return 0;
	for (i = 0; i < restore.npids && !ret; i++)
		ret = plugin_each_thread(restore.pids[i], restore_bind_thread, NULL);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	fd = ret ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!ret && (fd < 0 || connect(fd, (void *)&un, sizeof(un))))
		ret = -errno;
	if (ret)
		plugin_say("%s can not be asked whether the processes may run (%s): MITOSIS_GATE must be a UNIX socket that is listened on",
			   path, strerror(-ret));
	else if (read(fd, &verdict, 1) != 1 || verdict != '1')
		ret = -ECANCELED;
	if (ret == -ECANCELED)
		plugin_say("the processes may not run here: see what the other side says");
	if (fd >= 0)
		close(fd);
	return ret;
}

/*
 * CRIU has given a terminal the size of the one that it was; this one has its own: DESCRIPTOR ROWS
 * COLUMNS WIDTH HEIGHT.
 */
static void restore_winsize(void)
{
	const char *size = plugin_setting("MITOSIS_WINSIZE");
	struct winsize ws;
	int fd;

	if (size && sscanf(size, "%d %hu %hu %hu %hu", &fd, &ws.ws_row, &ws.ws_col, &ws.ws_xpixel,
			   &ws.ws_ypixel) == 5)
		ioctl(fd, TIOCSWINSZ, &ws);
}

int restore_resume(pid_t pid)
{
	int ret;

	if (!restore.img)
		return 0;
	if (!restore.restored)
		restore.restored = restore_now();
	restore_pagemaps_remove();
	ret = restore_remember(pid);
	if (restore.failed) {
		restore_kill();
		return -ECANCELED;
	}
	restore_winsize();
	if (!ret)
		ret = restore_fence();
	if (!ret)
		ret = restore_attach(pid);
	restore.attached++;
	restore.armed = restore_now();
	if (!ret && restore.attached == restore.img->nmms)
		ret = restore_gate();
	if (ret) {
		restore.failed = true;
		restore_kill();
		return ret;
	}
	if (restore.attached < restore.img->nmms || !restore_drains_link() ||
	    plugin_setting("MITOSIS_NO_DRAIN"))
		return 0;
	/* Memory comes with or without a drain; 'mitosis-cli list' shows what is missing. */
	if (mitosis_link_drain(restore.ctl, restore.img->snapshot))
		plugin_say("%s", mitosis_error(restore.ctl));
	return 0;
}

/* For who wants to know; a restore does not fail for it. */
static void restore_tell_phases(void)
{
	const char *path = plugin_setting("MITOSIS_PHASES");
	FILE *f = path ? fopen(path, "we") : NULL;

	if (!f)
		return;
	fprintf(f, "%llu %llu %llu %llu\n", (unsigned long long)restore.began,
		(unsigned long long)restore.linked, (unsigned long long)restore.restored,
		(unsigned long long)restore.armed);
	fclose(f);
}

static void restore_kill_children(void)
{
	char path[64];
	int child;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	f = fopen(path, "re");
	if (!f)
		return;
	while (fscanf(f, "%d", &child) == 1)
		kill(child, SIGKILL);
	fclose(f);
}

void restore_fini(int ret)
{
	bool failed = restore.failed;

	if (!restore.img)
		return;
	if (!ret && !failed && restore.attached < restore.img->nmms) {
		plugin_say("%zu of %zu processes have come without their memory and were killed: remove other plugins from criu's plugin directory",
			   restore.img->nmms - restore.attached, restore.img->nmms);
		restore_kill();
		restore_kill_children();
		failed = true;
	}
	if (!ret && !failed)
		restore_tell_phases();
	if ((ret || failed) && restore.link)
		mitosis_link_close(restore.ctl, restore.img->snapshot);
	restore_end();
	if (failed && !ret) {
		plugin_say("the restored processes have been killed: see the sentences above");
		fflush(NULL);
		_exit(1);
	}
}
