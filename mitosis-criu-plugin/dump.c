// SPDX-License-Identifier: MIT
/*
 * Dump. Tasks are stopped when dump_checkpoint() sees them, but which of their pages CRIU leaves
 * out is known only when its images are complete. Criu then runs its action scripts with the tasks
 * still stopped, and rolls back when one fails: that is where the pages are taken, by
 * mitosis-dump-finish (finish.h). criu runs the script that was added last first, so that scripts
 * of the user see complete images.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "mitosis-criu-plugin/finish.h"
#include "mitosis-criu-plugin/offer.h"
#include "mitosis-criu-plugin/plugin.h"

#define DUMP_PS_SOCKET		1000
#define DUMP_DRAIN_WAIT		300	/* seconds, unless MITOSIS_DRAIN_WAIT says something else */

static struct {
	struct mitosis *ctl;
	struct mitosis_image *img;	/* NULL: no dump is under way */
	/* not 0: a snapshot that somebody else has made, and no dump */
	uint64_t only;
	unsigned int nleft;		/* processes that it is still to be taken of */
	FILE *taken;			/* MITOSIS_TAKEN_NAME, once the first has been seen */
	char finish[PATH_MAX];
} dump;

/*
 * criu's page server sees a client that has gone already: it describes the lazy pages, sends none
 * and is content.
 */
static int dump_page_server(void)
{
	int sk[2], ret = 0;

	if (fcntl(DUMP_PS_SOCKET, F_GETFD) >= 0) {
		plugin_say("file descriptor %d is in use: start criu without it", DUMP_PS_SOCKET);
		return -EBUSY;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sk)) {
		ret = -errno;
	} else {
		if (dup3(sk[0], DUMP_PS_SOCKET, O_CLOEXEC) < 0)
			ret = -errno;
		close(sk[0]);
		close(sk[1]);
	}
	if (ret)
		plugin_say("file descriptor %d can not be opened (%s): raise the limit of open files (ulimit -n)",
			   DUMP_PS_SOCKET, strerror(-ret));
	return ret;
}

/*
 * What a dump needs can not stand in a configuration file that a restore reads as well, and a
 * container engine has criu read one file for both: option lazy-pages makes a restore look for a
 * page server, and nothing takes it back. So criu's own parser gets it here.
 */
static int dump_options(void)
{
	char ps_socket[16], *args[] = { "criu", "--lazy-pages", "--ps-socket", ps_socket, NULL };
	bool usage, exec_cmd;
	char *rpc;
	int ret;

	snprintf(ps_socket, sizeof(ps_socket), "%d", DUMP_PS_SOCKET);
	/* the parser would go on with the file that is named here, which has been read */
	rpc = rpc_cfg_file;
	rpc_cfg_file = NULL;
	ret = parse_options(sizeof(args) / sizeof(args[0]) - 1, args, &usage, &exec_cmd,
			    CRIU_PARSING_ARGV);
	rpc_cfg_file = rpc;
	if (!ret)
		return 0;
	plugin_say("criu does not take the options that leave memory where it is: see its log, and install criu 4.1 or 4.2");
	return -EINVAL;
}

static int dump_finish_script(void)
{
	const char *slash;
	Dl_info self;

	if (!dladdr(&dump, &self) || !self.dli_fname) {
		plugin_say("the plugin can not find its own file: install it again");
		return -ENOENT;
	}
	slash = strrchr(self.dli_fname, '/');
	if (snprintf(dump.finish, sizeof(dump.finish), "%.*s" MITOSIS_FINISH_PROGRAM,
		     slash ? (int)(slash + 1 - self.dli_fname) : 0, self.dli_fname) >=
	    (int)sizeof(dump.finish) || access(dump.finish, X_OK)) {
		plugin_say("%s is missing beside the plugin: install mitosis again",
			   MITOSIS_FINISH_PROGRAM);
		return -ENOENT;
	}
	if (add_script(dump.finish) || add_inventory_plugin(PLUGIN_NAME)) {
		plugin_say("criu takes no script: no memory is left");
		return -ENOMEM;
	}
	return 0;
}

/*
 * That a reader will want a TLS handshake, and get none, is not to be found out when the process
 * has gone. A migration has tried it with its reader.
 */
static int dump_try_tls(const char *addr)
{
	uint64_t ns;
	int ret;

	if (strcmp(mitosis_image_transport(dump.img), "tcp") ||
	    dump.img->flags & (MITOSIS_F_INSECURE | MITOSIS_HOLD_F_ONESHOT))
		return 0;
	ret = mitosis_transport_test(dump.ctl, "tcp", false, addr, &ns);
	/* what else fails may be between this machine and itself */
	if (ret != -ENOPKG && ret != -EREMOTEIO)
		return 0;
	plugin_say("%s", mitosis_error(dump.ctl));
	mitosis_release(dump.ctl, dump.img->snapshot);
	return ret;
}

static int dump_hold_create(void)
{
	char err[MITOSIS_ERROR_LEN], host[MITOSIS_IMAGE_MAX_HOST] = "", name[MITOSIS_NAME_LEN];
	struct mitosis_offer offer = {
		.transports = plugin_setting("MITOSIS_TRANSPORT"),
		.addr = plugin_setting("MITOSIS_ADDR"),
		.name = name,
		.insecure = plugin_setting("MITOSIS_INSECURE"),
	};
	struct mitosis_image *img = dump.img;
	int ret;

	ret = plugin_setting_u32("MITOSIS_LEASE", &offer.lease);
	if (ret)
		return ret;
	if (plugin_setting("MITOSIS_ONESHOT"))
		img->flags |= MITOSIS_HOLD_F_ONESHOT;
	if (plugin_setting("MITOSIS_FOLLOW"))
		img->flags |= MITOSIS_HOLD_F_FOLLOW;
	gethostname(host, sizeof(host) - 1);
	img->host = strdup(host);
	if (!img->host) {
		plugin_say("the dump can not be begun: no memory is left");
		return -ENOMEM;
	}
	img->created = (uint64_t)time(NULL);
	snprintf(name, sizeof(name), "%s", plugin_setting("MITOSIS_NAME") ?: host);
	ret = mitosis_offer(dump.ctl, img, &offer, err, sizeof(err));
	if (ret)
		plugin_say("%s", err);
	return ret ?: dump_try_tls(offer.addr);
}

/*
 * Earlier snapshots whose pages are not held again: MITOSIS_BASE, their numbers, the latest first.
 */
static int dump_bases(void)
{
	const char *text = plugin_setting("MITOSIS_BASE");
	int ret = 0, n = 0;

	for (; text && *text && !ret; text += n + (text[n] == ',')) {
		uint64_t base;

		if (sscanf(text, "%16" SCNx64 "%n", &base, &n) != 1)
			return -EINVAL;
		ret = mitosis_hold_base(dump.ctl, dump.img->snapshot, base);
	}
	if (ret)
		plugin_say("%s", mitosis_error(dump.ctl));
	return ret;
}

static int dump_record(void)
{
	char err[MITOSIS_ERROR_LEN];
	int ret;

	ret = mitosis_image_write(criu_get_image_dir(), dump.img, err, sizeof(err));
	if (ret)
		plugin_say("%s", err);
	return ret;
}

static void dump_end(void)
{
	mitosis_image_free(dump.img);
	dump.img = NULL;
	if (dump.ctl)
		mitosis_close(dump.ctl);
	dump.ctl = NULL;
}

int dump_init(void)
{
	char err[MITOSIS_ERROR_LEN];
	int ret;

	if (!add_inventory_plugin || !add_script || !compel_prepare || !compel_syscall ||
	    !parse_options || !&rpc_cfg_file) {
		plugin_say("this criu is older than 4.1 or lacks what the plugin needs of it: install criu 4.1 or newer");
		return -EOPNOTSUPP;
	}
	dump.ctl = mitosis_open(err, sizeof(err));
	if (!dump.ctl) {
		plugin_say("%s", err);
		return -ENODEV;
	}
	ret = dump_options();
	if (ret)
		goto out;
	/*
	 * without a page server criu cannot complete a dump: whatever it does, it ends with an
	 * error and lets the tasks go on
	 */
	if (plugin_setting("MITOSIS_SNAPSHOT")) {
		ret = sscanf(plugin_setting("MITOSIS_SNAPSHOT"), "%16" SCNx64, &dump.only) == 1 ?
			      0 :
			      -EINVAL;
		goto out;
	}
	ret = dump_page_server();
	if (ret)
		goto out;
	ret = dump_finish_script();
	if (ret)
		goto out;
	dump.img = mitosis_image_new();
	ret = dump.img ? dump_hold_create() : -ENOMEM;
	if (ret)
		goto out;
	ret = dump_bases() ?: dump_record();
	/* criu does not call dump_fini() after this. */
	if (ret)
		mitosis_release(dump.ctl, dump.img->snapshot);
out:
	if (ret)
		dump_end();
	return ret;
}

static int dump_lazy_find(const struct mitosis_attach_info *at, void *arg)
{
	struct mitosis_attach_info *want = arg;

	if (at->pid != want->pid)
		return 0;
	*want = *at;
	return 1;
}

/* Whether the rest will never come. */
static bool dump_lazy_for_ever(const struct mitosis_attach_info *at)
{
	return at->pages_unreadable && at->pages_unreadable == at->pages_pending;
}

/*
 * Whether a snapshot can do without them: the process is a child that brings in what it touches,
 * and its own children will read the rest from where it would. One that is on its way to have
 * everything is waited for, as its source is to be let go of.
 */
static bool dump_lazy_is_inherited(const struct mitosis_attach_info *at)
{
	return plugin_setting("MITOSIS_INHERIT") && !at->drain_ns &&
	       !at->pages_unreadable && !(at->flags & MITOSIS_ATTACH_F_MOVED);
}

/*
 * A process whose own memory is still on its way has pages that CRIU can not see. While it still
 * runs it is given the time to get them.
 */
int dump_pause(pid_t pid)
{
	struct mitosis_attach_info at = { .pid = (uint32_t)pid };
	unsigned int alarm_left;
	uint32_t wait;
	time_t end;
	int ret;

	if (!dump.img && !dump.only)
		return 0;
	ret = plugin_setting_u32("MITOSIS_DRAIN_WAIT", &wait);
	if (ret)
		return ret;
	ret = mitosis_attach_get(dump.ctl, 0, dump_lazy_find, &at);
	if (!ret || (ret > 0 && dump_lazy_is_inherited(&at)))
		return 0;
	/* criu has set itself a time for stopping the tasks; this is not part of it. */
	alarm_left = alarm(0);
	if (ret > 0 && !dump_lazy_for_ever(&at))
		ret = mitosis_event_subscribe(dump.ctl);
	if (!ret)
		ret = mitosis_link_drain(dump.ctl, at.snapshot) ?: 1;
	end = time(NULL) + (wait ? wait : DUMP_DRAIN_WAIT);
	while (ret > 0 && time(NULL) < end && !dump_lazy_for_ever(&at)) {
		struct mitosis_event_info event;

		/* Whatever has happened, and when events were lost, the state tells. */
		mitosis_event_next(dump.ctl, &event, 500);
		ret = mitosis_attach_get(dump.ctl, 0, dump_lazy_find, &at);
	}
	alarm(alarm_left);
	if (ret < 0)
		plugin_say("%s", mitosis_error(dump.ctl));
	else if (ret > 0 && at.pages_unreadable)
		plugin_say("process %d has %" PRIu64 " pages that the source of an earlier move can not read, dmesg names them: it can not be moved as long as it has them mapped",
			   pid, at.pages_unreadable);
	else if (ret > 0)
		plugin_say("process %d still waits for memory of an earlier move: try again when it is not listed by 'mitosis-cli list' any more",
			   pid);
	return ret > 0 ? -EBUSY : ret;
}

/* A restore keeps two pieces of memory a thread (restore.c) and can name MITOSIS_MAX_ARRAY. */
static int dump_count_thread(pid_t tid, void *arg)
{
	(void)tid;
	return ++*(size_t *)arg > MITOSIS_MAX_ARRAY / 2 ? -E2BIG : 0;
}

static int dump_check_threads(pid_t pid)
{
	size_t n = 0;

	return plugin_each_thread(pid, dump_count_thread, &n);
}

/*
 * A device may still write into the memory of a task that stands still. Linux 6.1 lets it keep a
 * page that is copied on write once the clone has been taken, and what it writes there is lost to
 * the task; on any kernel a child never hears of the end. Nobody can learn from outside whether
 * something is under way, or wait for it. A pread() with O_DIRECT has ended when its task stops. A
 * snapshot for pre-copy is refused likewise: such a page would be taken for unchanged when the
 * process is moved.
 */
static int dump_check_io(pid_t pid)
{
	bool aio = false, uring = false;
	char *line = NULL;
	size_t room = 0;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (getline(&line, &room, f) > 0) {
		aio |= !!strstr(line, " /[aio]");
		uring |= !!strstr(line, " anon_inode:[io_uring]");
	}
	free(line);
	fclose(f);
	if (uring) {
		plugin_say("process %d uses io_uring, which CRIU can not dump: have the process end its rings first",
			   pid);
		return -EOPNOTSUPP;
	}
	/* who does not run on, and is restored once, is as well off as with CRIU alone */
	if (aio && plugin_setting("MITOSIS_LEAVE_RUNNING")) {
		plugin_say("process %d has contexts of io_setup(), and what they have under way would be lost to it or its children: have the process end them (io_destroy) first, and begin anew afterwards",
			   pid);
		return -EBUSY;
	}
	return 0;
}

/* Processes of the tree below @pid that have not ended. They stand still. */
static unsigned int dump_count(pid_t pid)
{
	char path[300], stat[512], *state;
	unsigned int n = 0;
	struct dirent *e;
	int child;
	FILE *f;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	/* not a line: the name in it may be of several */
	stat[f ? fread(stat, 1, sizeof(stat) - 1, f) : 0] = 0;
	state = strrchr(stat, ')');
	n += state && state[1] && !strchr("ZX", state[2]);
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/children", (int)pid, e->d_name);
		f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
		while (f && fscanf(f, "%d", &child) == 1)
			n += dump_count(child);
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return n;
}

/*
 * criu asks in the order of the tree, its root first. Failing after the last one is how it lets
 * them go on without looking further.
 */
static int dump_take_only(pid_t pid, uint32_t mm)
{
	int fd, ret;

	if (!dump.taken) {
		dump.nleft = dump_count(pid);
		if (!dump.nleft) {
			plugin_say("the processes below process %d cannot be counted: see whether /proc can be read, and the limit of open files (ulimit -n)",
				   pid);
			return -EIO;
		}
		fd = openat(criu_get_image_dir(), MITOSIS_TAKEN_NAME ".new",
			    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		dump.taken = fd < 0 ? NULL : fdopen(fd, "w");
		if (!dump.taken)
			return -errno;
	}
	ret = snapshot_take(dump.ctl, dump.only, mm, pid);
	if (ret)
		return ret;
	fprintf(dump.taken, "%d %u\n", (int)pid, mm);
	if (--dump.nleft)
		return 0;
	if (!fflush(dump.taken) && !ferror(dump.taken))
		renameat(criu_get_image_dir(), MITOSIS_TAKEN_NAME ".new", criu_get_image_dir(),
			 MITOSIS_TAKEN_NAME);
	return -ECANCELED;
}

int dump_checkpoint(pid_t pid)
{
	struct mitosis_attach_info at = { .pid = (uint32_t)pid };
	uint32_t mm;
	int ret;

	if (!dump.img && !dump.only)
		return 0;
	mm = mitosis_proc_inner_pid(pid);
	if (!mm) {
		plugin_say("process %d has gone: try again", pid);
		return -ESRCH;
	}
	if (mitosis_attach_get(dump.ctl, 0, dump_lazy_find, &at) > 0 &&
	    !dump_lazy_is_inherited(&at)) {
		plugin_say("process %d still waits for memory of an earlier move: try again later",
			   pid);
		return -EBUSY;
	}
	ret = dump_check_threads(pid);
	if (ret) {
		plugin_say("process %d can not be dumped (%s): it may have %d threads at most", pid,
			   strerror(-ret), MITOSIS_MAX_ARRAY / 2);
		return ret;
	}
	ret = dump_check_io(pid);
	if (ret)
		return ret;
	if (dump.only)
		return dump_take_only(pid, mm);
	if (!mitosis_image_add_mm(dump.img, mm)) {
		ret = errno == EEXIST ? -EEXIST : -ENOMEM;
		plugin_say("process %d can not be recorded (%s): try again", pid, strerror(-ret));
		return ret;
	}
	ret = snapshot_take(dump.ctl, dump.img->snapshot, mm, pid);
	return ret ? ret : dump_record();
}

static bool dump_is_sealed(void)
{
	struct mitosis_hold_info hold;

	return mitosis_hold_find(dump.ctl, dump.img->snapshot, &hold) > 0 &&
	       hold.state == MITOSIS_HOLD_SEALED;
}

/*
 * With ret 0 criu kills the tasks after this (or lets them go on, with --leave-running or when a
 * script failed) whatever is found here. mitosis.img tells: it is complete, or mitosis-dump-finish
 * has failed and removed it, and criu rolls back. If it is neither, the tasks' memory is nowhere:
 * by leaving at once criu, their tracer, lets them run on. mitosis-cli's migration, once sealed, is
 * not decided here: the process may run on the other machine already, and need what is held.
 */
void dump_fini(int ret)
{
	struct mitosis_image *img = NULL;
	char err[MITOSIS_ERROR_LEN];
	bool lost = false;

	if (!dump.img) {
		dump_end();
		return;
	}
	if (getenv("MITOSIS_ACTION_ID") && dump_is_sealed()) {
		dump_end();
		return;
	}
	if (!ret) {
		int e = mitosis_image_read(criu_get_image_dir(), &img, err, sizeof(err));

		if (!e)
			lost = img->snapshot != dump.img->snapshot ||
			       img->state != MITOSIS_IMAGE_SEALED;
		else
			lost = e != -ENOENT && !dump_is_sealed();
	}
	if (ret || lost)
		mitosis_dump_abandon(dump.ctl, criu_get_image_dir(), dump.img->snapshot);
	mitosis_image_free(img);
	dump_end();
	if (!lost)
		return;
	plugin_say("the memory of the processes could not be held, they run on: dump again");
	fflush(NULL);
	_exit(1);
}
