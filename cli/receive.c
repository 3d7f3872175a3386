// SPDX-License-Identifier: MIT
/*
 * The destination's side of a migration: started by migrate over ssh, speaks on standard input and
 * output.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "images/mitosis_image.h"

struct receive {
	struct wire wire;
	char id[17], dir[256], fence[256];
	unsigned int give_up, timeout;
	bool tcp, wait;
	bool held;		/* a test keeps the drain back */
	bool finished;		/* the source has let go of it */
	json_object *criu_options;	/* as they came; see criu_options() */
	json_object *container;		/* as the source has described it */
	json_object *asked;		/* the same, of a resolve: nothing but a question */
	pid_t podman;
	int gate;			/* where the plugin waits for a word, -1: nowhere */
	struct mitosis *ctl;
	struct mitosis *fill;	/* keeps what pre-copy has read, until the process has come */
	bool precopy;
	uint64_t snapshot;
	json_object *journal;
};

/*
 * Whether a test wants memory to come by faults alone until it has had its look: step drain:hold.
 */
static bool test_holds_drain(void)
{
	const char *action = cli_test_step("drain");

	return action && !strcmp(action, "hold");
}

static void places(struct receive *r)
{
	snprintf(r->fence, sizeof(r->fence), "%s/mitosis-%s", CLI_CGROUP, r->id);
}

/* NULL: it is processes that come. */
static json_object *container_of(const struct receive *r)
{
	return r->container ?: jget(r->journal, "container");
}

static int journal_set(struct receive *r, const char *state)
{
	char snapshot[17];

	if (!r->journal) {
		r->journal = json_object_new_object();
		json_object_object_add(r->journal, "role", json_object_new_string("destination"));
		json_object_object_add(r->journal, "fence", json_object_new_string(r->fence));
		snprintf(snapshot, sizeof(snapshot), "%016lx", (unsigned long)r->snapshot);
		json_object_object_add(r->journal, "snapshot", json_object_new_string(snapshot));
		if (r->container)
			json_object_object_add(r->journal, "container",
					       json_object_get(r->container));
		journal_own(r->journal);
	}
	json_object_object_add(r->journal, "state", json_object_new_string(state));
	return journal_save(r->id, r->journal);
}

/* What another receiver has written down of its snapshot; 0: nothing. */
static void recall(struct receive *r)
{
	r->ctl = cli_open();
	if (!cli_parse_id(jstr(r->journal, "snapshot"), &r->snapshot))
		r->snapshot = 0;
}

/* A podman that has outlived its receiver; what it has started is found by the container's id. */
static void podman_kill(json_object *journal)
{
	if (cli_process_lives(journal, "podman"))
		kill(-(pid_t)jint(journal, "podman"), SIGKILL);
	while (cli_process_lives(journal, "podman"))
		usleep(10000);
}

/* Podman's exit status, when the plugin has had its word or never will. */
static int podman_end(struct receive *r)
{
	int status = -1;

	if (r->gate >= 0)
		close(r->gate);
	r->gate = -1;
	if (r->podman > 0)
		waitpid(r->podman, &status, 0);
	r->podman = 0;
	return status;
}

/* Nothing of it may ever run here. Not 0: some of it may be left, and so is the journal. */
static int discard(struct receive *r)
{
	if (container_of(r)) {
		podman_end(r);
		podman_kill(r->journal);
		if (container_remove(container_of(r), true))
			return -1;
	}
	fence_kill(r->fence);
	fence_remove(r->fence);
	if (r->ctl && r->snapshot)
		mitosis_link_close(r->ctl, r->snapshot);
	journal_remove(r->id);
	return 0;
}

int cli_receive_images(struct wire *w, const char *dir)
{
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = -1, patience = WIRE_DUMP_S;
	json_object *o;

	while ((o = wire_recv(w, patience * 1000))) {
		patience = WIRE_STALL_S;
		if (json_object_object_get_ex(o, "end", NULL)) {
			ret = 0;
			break;
		}
		if (!json_object_object_get_ex(o, "file", NULL)) {
			if (*jstr(o, "error"))
				cli_say("the other side: %s", jstr(o, "error"));
			break;
		}
		ret = wire_recv_file(w, o, dirfd);
		if (ret == -EPIPE)
			break;
		if (ret) {
			wire_send_error(w, "image %s cannot be written to %s (%s): make room there",
					jstr(o, "file"), dir, strerror(-ret));
			break;
		}
		json_object_put(o);
		ret = -1;
	}
	if (!o || ret == -EPIPE)
		wire_send_error(w,
				"the images have not arrived: the session ended, or nothing came for %d s",
				patience);
	json_object_put(o);
	close(dirfd);
	return ret;
}

static int read_descriptor(struct receive *r)
{
	int dirfd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;
	struct mitosis_image *img;
	char err[512];

	ret = mitosis_image_read(dirfd, &img, err, sizeof(err));
	close(dirfd);
	if (ret) {
		wire_send_error(&r->wire, "%s", err);
		return -1;
	}
	r->snapshot = img->snapshot;
	mitosis_image_free(img);
	return 0;
}

/*
 * What the other side wants criu to be told, as far as there is room; how many. The strings are the
 * array's.
 */
static int criu_options(json_object *array, char **options)
{
	bool some = json_object_is_type(array, json_type_array);
	size_t i, n = some ? json_object_array_length(array) : 0;

	for (i = 0; i < n && i < CLI_CRIU_ARGS; i++)
		options[i] = (char *)json_object_get_string(json_object_array_get_idx(array, i));
	return i;
}

/*
 * criu and all that it starts are in the fence from their first instruction on; the plugin freezes
 * it.
 */
static pid_t start_criu(struct receive *r)
{
	char home[512], give_up[16], *argv[CLI_CRIU_ARGS], *options[CLI_CRIU_ARGS];
	pid_t pid;
	int n;

	if (cli_cgroup_of(getpid(), home, sizeof(home)))
		snprintf(home, sizeof(home), "%s", CLI_CGROUP);
	snprintf(give_up, sizeof(give_up), "%u", r->give_up);
	pid = fork();
	if (pid)
		return pid;
	signal(SIGPIPE, SIG_DFL);
	setenv("MITOSIS_FENCE", r->fence, 1);
	setenv("MITOSIS_FENCE_HOME", home, 1);
	setenv("MITOSIS_NO_DRAIN", "1", 1);
	setenv("MITOSIS_GIVE_UP", give_up, 1);
	dup2(2, 1);
	close(0);
	open("/dev/null", O_RDONLY);
	setsid();
	if (fence_move(r->fence, getpid()))
		_exit(126);
	n = cli_criu_restore(argv, r->dir, "restore.log");
	if (r->tcp)
		argv[n++] = "--tcp-established";
	cli_criu_options(argv, n, options, criu_options(r->criu_options, options));
	execvp("criu", argv);
	_exit(127);
}

static void criu_error(struct receive *r, int status)
{
	char *error = cli_criu_error(r->dir, "restore.log");

	wire_send_error(&r->wire, "criu could not restore the process (status %x): %s", status,
			error ? error : "see its message above");
	free(error);
}

/*
 * Waits for criu; a word from the other side, which can only be ABORT, and its hanging up end it.
 */
static int wait_criu(struct receive *r, pid_t pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0), status;
	struct pollfd p[2] = { { fd, POLLIN, 0 }, { r->wire.in, POLLIN, 0 } };

	while (fd >= 0 && poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (fd < 0 || p[1].revents || r->wire.len) {
		/* everything in the fence goes, criu as well */
		fence_kill(r->fence);
		kill(pid, SIGKILL);
	}
	if (fd >= 0)
		close(fd);
	waitpid(pid, &status, 0);
	if (status) {
		criu_error(r, status);
		return -1;
	}
	return 0;
}

struct progress {
	uint64_t n, pages, pending, fault, drain, eager, dead, unreadable;
};

static int add_progress(const struct mitosis_attach_info *a, void *arg)
{
	struct progress *p = arg;

	p->n++;
	p->pages += a->pages_total;
	p->pending += a->pages_pending;
	p->fault += a->pages_fault;
	p->drain += a->pages_drain;
	p->eager += a->pages_eager;
	p->dead += a->pages_dead;
	p->unreadable += a->pages_unreadable;
	return 0;
}

static json_object *progress_json(const struct progress *p)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "pages", json_object_new_uint64(p->pages));
	json_object_object_add(o, "pending", json_object_new_uint64(p->pending));
	json_object_object_add(o, "fault", json_object_new_uint64(p->fault));
	json_object_object_add(o, "drain", json_object_new_uint64(p->drain));
	json_object_object_add(o, "eager", json_object_new_uint64(p->eager));
	json_object_object_add(o, "dead", json_object_new_uint64(p->dead));
	return o;
}

/*
 * When the source has let go of the process it says so, and nobody will ask for the journal any
 * more: from then on nothing here knows of the migration. False when the session has ended.
 */
static bool heed_source(struct receive *r, int timeout_ms)
{
	json_object *o = wire_recv(&r->wire, timeout_ms);
	bool lives = o || errno == ETIMEDOUT;

	if (o && json_object_object_get_ex(o, "finished", NULL)) {
		journal_remove(r->id);
		r->finished = true;
	}
	json_object_put(o);
	return lives;
}

/*
 * The module drains whether anybody looks or not: a session that ends meanwhile costs only the
 * view.
 */
static int report_drain(struct receive *r)
{
	struct progress last = {};
	uint64_t before[__MITOSIS_STAT_MAX], now[__MITOSIS_STAT_MAX];
	json_object *o;

	mitosis_stats(r->ctl, before, NULL);
	for (;;) {
		struct progress p = {};

		if (mitosis_attach_get(r->ctl, r->snapshot, add_progress, &p))
			return -1;
		if (!p.n)
			break;
		if (p.unreadable && p.pending == p.unreadable) {
			wire_send_error(&r->wire,
					"all has come but %lu pages that the source cannot read; the process runs here and is killed if it touches one: dmesg here names them, and the source's log should say what has failed there",
					(unsigned long)p.unreadable);
			return -1;
		}
		last = p;
		if (wire_send(&r->wire, progress_json(&p)) || !heed_source(r, 100))
			return -1;
	}
	mitosis_stats(r->ctl, now, NULL);
	/* what arrived after the last look */
	last.drain += last.pending;
	last.pending = 0;
	if (now[MITOSIS_STAT_LINK_LOST] != before[MITOSIS_STAT_LINK_LOST]) {
		wire_send_error(&r->wire,
				"the link to the source was lost for good, the process was killed: see dmesg");
		return -1;
	}
	o = progress_json(&last);
	json_object_object_add(o, "drained", json_object_new_boolean(true));
	return wire_send(&r->wire, o);
}

static bool podman_has_ended(struct receive *r)
{
	siginfo_t info = {};

	return r->podman <= 0 || waitid(P_PID, r->podman, &info, WEXITED | WNOHANG | WNOWAIT) ||
	       info.si_pid;
}

/*
 * The plugin lets the container run, and podman does the rest. When that fails it has run for a
 * moment at most, and nothing is left of it here: it may be taken back to its source. What podman
 * has started may end at once, by itself.
 */
static int open_gate(struct receive *r)
{
	if (podman_has_ended(r) || write(r->gate, "1", 1) != 1 || podman_end(r)) {
		wire_send_error(&r->wire,
				"podman could not bring container %s up there: see its message above",
				jstr(r->container, "name"));
		return discard(r) ? -1 : 1;
	}
	json_object_object_add(r->journal, "started", json_object_new_boolean(true));
	journal_set(r, "running");
	return 0;
}

/*
 * COMMIT has come, or has not. Under the migration's lock, as the source may have given up waiting
 * and its resolve may have made us forget: that has removed the journal. 0: it runs; 1: it never
 * will; -1: neither side may go on until resolve.
 */
static int decide(struct receive *r, bool commit)
{
	json_object *journal = NULL;
	int lock = journal_lock(r->id), ret = 1;

	if (lock >= 0)
		journal = journal_load(r->id);
	if (!commit || !journal) {
		discard(r);
		goto out;
	}
	ret = -1;
	if (journal_set(r, "running")) {
		wire_send_error(&r->wire, "the journal cannot be written there");
		goto out;
	}
	cli_test_step("journaled");
	r->held = test_holds_drain();
	/*
	 * its source lets go of memory that has come, and may have to take it back until podman has
	 * succeeded
	 */
	ret = r->container ? open_gate(r) : 0;
	/*
	 * before it is thawed, so that it drains even when nothing but the process survives from
	 * here on
	 */
	if (!ret && !r->held && mitosis_link_drain(r->ctl, r->snapshot))
		cli_say("%s", mitosis_error(r->ctl));
	if (r->container)
		goto out;
	ret = fence_freeze(r->fence, false) ? -1 : 0;
	if (ret)
		wire_send_error(&r->wire, "the process cannot be thawed in cgroup %s there",
				r->fence);
out:
	json_object_put(journal);
	journal_unlock(lock);
	return ret;
}

/*
 * Until the plugin waits at the gate. With podman dead there is nobody to let through, and what the
 * other side says can only be ABORT.
 */
static int wait_gate(struct receive *r, int listener)
{
	int fd = syscall(SYS_pidfd_open, r->podman, 0);
	struct pollfd p[3] = {
		{ listener, POLLIN, 0 }, { fd, POLLIN, 0 }, { r->wire.in, POLLIN, 0 }
	};

	while (fd >= 0 && poll(p, 3, -1) < 0 && errno == EINTR)
		;
	if (fd >= 0)
		close(fd);
	if (fd < 0 || p[1].revents || !p[0].revents)
		return -1;
	r->gate = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	return r->gate < 0 ? -1 : 0;
}

/* Has podman restore the container, up to where nothing but the source's word is missing. */
static int import_container(struct receive *r)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char gate[sizeof(un.sun_path) + 16], give_up[32];
	const char *settings[] = {
		gate, give_up, "MITOSIS_NO_DRAIN=1",
		cli_insecure() ? "MITOSIS_INSECURE=1" : "MITOSIS_INSECURE=", NULL
	};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ret = -1;

	snprintf(un.sun_path, sizeof(un.sun_path), "%.90s/gate.sock", r->dir);
	snprintf(gate, sizeof(gate), "MITOSIS_GATE=%s", un.sun_path);
	snprintf(give_up, sizeof(give_up), "MITOSIS_GIVE_UP=%u", r->give_up);
	r->ctl = cli_open();
	if (!r->ctl || listener < 0 || bind(listener, (void *)&un, sizeof(un)) ||
	    listen(listener, 1) || container_criu(r->dir, settings) ||
	    journal_set(r, "restoring")) {
		wire_send_error(&r->wire, "nothing can be restored there: see the message above");
		goto out;
	}
	r->podman = container_import(r->container, r->dir);
	/* should we die, it goes on */
	cli_process_add(r->journal, "podman", r->podman);
	ret = journal_set(r, "restoring");
	cli_test_step("restoring");
	if (!ret)
		ret = wait_gate(r, listener);
	if (ret)
		wire_send_error(&r->wire,
				"podman could not restore container %s there: see its message above",
				jstr(r->container, "name"));
	else
		cli_test_step("restored");
out:
	close(listener);
	return ret;
}

/* Restores the process, up to where nothing but the source's word is missing. */
static int restore(struct receive *r)
{
	struct progress attached = {};
	pid_t pid;

	r->ctl = cli_open();
	if (!r->ctl || journal_set(r, "restoring") || fence_make(r->fence)) {
		wire_send_error(&r->wire, "nothing can be restored there: see the message above");
		return -1;
	}
	pid = start_criu(r);
	cli_test_step("restoring");
	if (pid < 0 || wait_criu(r, pid))
		return -1;
	/* criu does not fail when a plugin is not loaded, and nobody else has closed the fence */
	if (!fence_is_frozen(r->fence)) {
		wire_send_error(&r->wire,
				"the restored process is not frozen in cgroup %s: see whether criu loads the plugin from %s there",
				r->fence, cli_plugin_dir());
		return -1;
	}
	if (mitosis_attach_get(r->ctl, r->snapshot, add_progress, &attached)) {
		wire_send_error(&r->wire, "%s", mitosis_error(r->ctl));
		return -1;
	}
	if (!attached.n) {
		wire_send_error(&r->wire,
				"criu restored the process, but no memory is attached: see dmesg there");
		return -1;
	}
	cli_test_step("restored");
	return 0;
}

static int receive(struct receive *r)
{
	int ret = CLI_FAILED, work;
	bool commit;
	json_object *o;

	o = journal_load(r->id);
	if (o || errno != ENOENT) {
		json_object_put(o);
		wire_send_error(&r->wire,
				"there is a migration %s already: see mitosis-cli resolve there",
				r->id);
		return ret;
	}
	work = cli_work_dir(r->container ? CLI_STATE_DIR : CLI_RUN_DIR, r->id, r->dir,
			    sizeof(r->dir));
	if (work < 0) {
		wire_send_error(&r->wire, "directory %s cannot be made: %s", r->dir,
				strerror(errno));
		return ret;
	}
	/* podman leaves a process behind that lives as long as the container */
	if (r->container)
		fcntl(work, F_SETFD, FD_CLOEXEC);
	if (r->precopy) {
		r->fill = cli_open();
		if (!r->fill || precopy_receive(r->fill, &r->wire, r->dir, r->give_up))
			goto out;
	}
	if (cli_receive_images(&r->wire, r->dir) || read_descriptor(r))
		goto out;
	cli_test_step("received");
	if ((r->container ? import_container(r) : restore(r)) || wire_send_key(&r->wire, "ready")) {
		decide(r, false);
		goto out;
	}
	/* from here on the process keeps it, as long as it needs it */
	if (r->fill)
		mitosis_close(r->fill);
	r->fill = NULL;
	cli_test_step("ready");
	/* the source waits no longer for RUNNING than this */
	o = wire_recv(&r->wire, r->timeout * 1000);
	commit = o && json_object_object_get_ex(o, "commit", NULL);
	json_object_put(o);
	if (commit)
		cli_test_step("commit");
	if (decide(r, commit))
		goto out;
	cli_test_step("thawed");
	wire_send_key(&r->wire, "running");
	cli_test_step("running");
	while (r->held && access(CLI_TEST_GO, F_OK))
		usleep(20000);
	if (r->held)
		mitosis_link_drain(r->ctl, r->snapshot);
	ret = r->wait && report_drain(r) ? CLI_FAILED : CLI_OK;
	if (!r->finished)
		heed_source(r, r->timeout * 1000);
out:
	cli_remove_dir(r->dir);
	close(work);
	json_object_put(r->journal);
	if (r->fill)
		mitosis_close(r->fill);
	if (r->ctl)
		mitosis_close(r->ctl);
	return ret;
}

/*
 * The container that is asked for; with its journal ended by hand (resolve --here run) it may run
 * all the same.
 */
static json_object *container_asked(const struct receive *r)
{
	return r->journal ? container_of(r) : r->asked;
}

enum whereabouts {
	NOWHERE,	/* it never ran here, and never will without a word of the source's */
	HERE,
	ENDED,		/* it did run, and does not any more */
	/* it has been let run, and podman does not say so: it may be about to, or be dead */
	UNCLEAR,
};

/*
 * What runs here has been promised or, with its journal ended by hand, was let run by who ended it:
 * everything else that has come as far as the source's COMMIT stands in a frozen cgroup, or waits
 * at the gate.
 */
static enum whereabouts whereabouts(struct receive *r)
{
	json_object *c = container_asked(r);
	int runs;

	if (r->journal && strcmp(journal_state(r->journal), "running"))
		return NOWHERE;
	if (c) {
		runs = container_runs(c);
		if (runs)
			return runs > 0 ? HERE : UNCLEAR;
		if (container_lives(c))
			return UNCLEAR;
		return jbool(r->journal, "started") ? ENDED : NOWHERE;
	}
	if (fence_is_populated(r->fence))
		return r->journal || !fence_is_frozen(r->fence) ? HERE : NOWHERE;
	return r->journal ? ENDED : NOWHERE;
}

/* That it was promised, and is carried out now if it was cut off there. */
static void tell_runs(struct receive *r)
{
	recall(r);
	if (r->ctl && r->snapshot)
		mitosis_link_drain(r->ctl, r->snapshot);
	if (!container_asked(r) && fence_freeze(r->fence, false))
		wire_send_error(&r->wire, "it cannot be thawed in cgroup %s there", r->fence);
	else
		wire_send_key(&r->wire, "runs");
}

static void tell(struct receive *r, enum whereabouts where)
{
	switch (where) {
	case NOWHERE:
		wire_send_key(&r->wire, "does-not-run");
		break;
	case HERE:
		tell_runs(r);
		break;
	case ENDED:
		wire_send_key(&r->wire, "ended");
		break;
	case UNCLEAR:
		wire_send_error(&r->wire,
				"podman there does not say that container %s runs, but processes of it may: resolve again when podman can be asked there, or end them there with mitosis-cli resolve %s --here kill",
				jstr(container_asked(r), "name"), r->id);
		break;
	}
}

/* For resolve at the source, under the migration's lock. */
static void status(struct receive *r)
{
	tell(r, whereabouts(r));
}

/* After this the migration can never run here, so it may run at its source again. */
static void forget(struct receive *r)
{
	enum whereabouts where = whereabouts(r);

	if (where != NOWHERE) {
		tell(r, where);
		return;
	}
	recall(r);
	if (discard(r))
		wire_send_error(&r->wire,
				"what was restored there cannot be taken away: see the message above, end it there, and resolve again");
	else
		wire_send_key(&r->wire, "forgotten");
}

/* The source has let go of the process, and will not ask again. */
static void finished(struct receive *r)
{
	if (!strcmp(journal_state(r->journal), "running"))
		journal_remove(r->id);
	wire_send_key(&r->wire, "finished");
}

static int answer_resolve(struct receive *r, void (*answer)(struct receive *r))
{
	int lock = journal_lock(r->id);

	places(r);
	r->journal = lock < 0 ? NULL : journal_load(r->id);
	if (lock < 0 || (!r->journal && errno != ENOENT))
		wire_send_error(&r->wire,
				"the journal " CLI_STATE_DIR "/%s.json cannot be read there: see why, it says whether the process runs",
				r->id);
	else if (r->journal && strcmp(jstr(r->journal, "role"), "destination"))
		wire_send_error(&r->wire,
				"migration %s went away from there: run mitosis-cli resolve there",
				r->id);
	else
		answer(r);
	json_object_put(r->journal);
	journal_unlock(lock);
	if (r->ctl)
		mitosis_close(r->ctl);
	return CLI_OK;
}

/*
 * A receiver that died before COMMIT has left a frozen process behind: COMMIT can reach nobody any
 * more.
 */
static int sweep_journal(const char *id, json_object *unlocked, void *arg)
{
	struct receive r = { .gate = -1 };
	int lock;

	(void)arg;
	if (strcmp(jstr(unlocked, "role"), "destination") ||
	    strcmp(journal_state(unlocked), "restoring") || journal_owner_lives(unlocked) ||
	    !cli_is_migration(id))
		return 0;
	lock = journal_lock(id);
	r.journal = lock < 0 ? NULL : journal_load(id);
	if (!strcmp(journal_state(r.journal), "restoring")) {
		snprintf(r.id, sizeof(r.id), "%s", id);
		places(&r);
		recall(&r);
		discard(&r);
		if (r.ctl)
			mitosis_close(r.ctl);
	}
	json_object_put(r.journal);
	journal_unlock(lock);
	return 0;
}

/* A process keeps the cgroup that it came in; when it has ended, nobody needs that. */
static void sweep_cgroups(void)
{
	char path[640], journal[256];
	struct dirent *e;
	DIR *d = opendir(CLI_CGROUP);

	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, "mitosis-", 8) || !cli_is_migration(e->d_name + 8))
			continue;
		snprintf(journal, sizeof(journal), "%s/%s.json", CLI_STATE_DIR, e->d_name + 8);
		snprintf(path, sizeof(path), "%s/%s", CLI_CGROUP, e->d_name);
		if (access(journal, F_OK))
			rmdir(path);
	}
	if (d)
		closedir(d);
}

static int fork_report(json_object *child, void *arg)
{
	return wire_send(arg, child);
}

/*
 * Children of a snapshot. Their images are needed until they run; what becomes of them then is
 * nobody's but their own. Those of which the other side has not heard when the session ends are
 * ended.
 */
static int receive_fork(struct receive *r, json_object *fork)
{
	json_object *o;
	struct child_opts opts = {
		.give_up = jint(fork, "give_up"),
		.eager = jbool(fork, "eager"),
		.no_cache = jbool(fork, "no_cache"),
		.netns = jbool(fork, "netns"),
		.record = jbool(fork, "record"),
		.prefetch = *jstr(fork, "prefetch") ? jstr(fork, "prefetch") : NULL,
		.hook = *jstr(fork, "hook") ? jstr(fork, "hook") : NULL,
	};
	int lock = cli_work_dir(CLI_RUN_DIR, r->id, r->dir, sizeof(r->dir)), ret = -1;
	char *argv[CLI_CRIU_ARGS], err[MITOSIS_ERROR_LEN];

	if (lock < 0) {
		wire_send_error(&r->wire,
				"no directory for the images can be made in " CLI_RUN_DIR " (%s)",
				strerror(errno));
		return CLI_FAILED;
	}
	opts.ncriu_args = criu_options(json_object_object_get(fork, "criu_options"), argv);
	opts.criu_args = argv;
	opts.dir = r->dir;
	if (cli_receive_images(&r->wire, r->dir) || read_descriptor(r))
		goto out;
	opts.snapshot = r->snapshot;
	if (opts.prefetch && !strcmp(opts.prefetch, "recorded") &&
	    record_check(r->dir, r->snapshot, err, sizeof(err))) {
		wire_send_error(&r->wire, "%s", err);
		goto out;
	}
	o = wire_recv(&r->wire, WIRE_DUMP_S * 1000);
	opts.session = dup(r->wire.in);
	if (opts.session < 0)
		ret = -errno;
	else if (o && json_object_object_get_ex(o, "begin", NULL))
		ret = child_start_all(&opts, jint(fork, "first"), jint(fork, "n"), fork_report,
				      &r->wire);
	json_object_put(o);
	if (opts.session >= 0)
		close(opts.session);
	if (ret)
		wire_send_error(&r->wire, "children cannot be started there: %s",
				ret == -1 || ret == -EPIPE ? "the session ended" : strerror(-ret));
	else
		wire_send_key(&r->wire, "done");
out:
	cli_remove_dir(r->dir);
	close(lock);
	return ret ? CLI_FAILED : CLI_OK;
}

/* What children here have touched is wanted where the descriptor is. */
static int send_record(struct receive *r, const char *id)
{
	json_object *o = json_object_new_object();
	char err[MITOSIS_ERROR_LEN] = "it is no snapshot", *text;
	uint64_t snapshot, npages;

	text = cli_parse_id(id, &snapshot) ? record_here(snapshot, &npages, err, sizeof(err)) :
					     NULL;
	if (!text) {
		json_object_put(o);
		wire_send_error(&r->wire, "%s", err);
		return CLI_FAILED;
	}
	json_object_object_add(o, "pages", json_object_new_int64(npages));
	json_object_object_add(o, "record", json_object_new_string(text));
	free(text);
	return wire_send(&r->wire, o) ? CLI_FAILED : CLI_OK;
}

/* A descriptor of this machine is wanted elsewhere: who may start us may read it. */
static int send_descriptor(struct receive *r, const char *name)
{
	char dir[512];
	uint64_t bytes = 0;

	snprintf(dir, sizeof(dir), CLI_PREPARED_DIR "/%s", name);
	if (!cli_name_is_good(name) || access(dir, R_OK | X_OK)) {
		wire_send_error(&r->wire,
				"there is no snapshot named %s there: mitosis-cli prepare makes one",
				name);
		return CLI_FAILED;
	}
	return wire_send_images(&r->wire, dir, "the other side", &bytes, NULL, NULL) ? CLI_FAILED :
										       CLI_OK;
}

int cmd_receive(int argc, char **argv)
{
	json_object *hello, *answer, *problems, *unreached, *fork;
	char usable[MITOSIS_TRANSPORTS_LEN];
	struct receive r = { .gate = -1 };
	bool check_only;
	int ret;

	(void)argv;
	signal(SIGPIPE, SIG_IGN);
	wire_init(&r.wire, 0, 1);
	if (argc != 1) {
		cli_say("receive takes no options: mitosis-cli migrate starts it");
		return CLI_USAGE;
	}
	hello = wire_recv(&r.wire, WIRE_STALL_S * 1000);
	if (!hello || jint(hello, "hello") != CLI_PROTOCOL ||
	    !cli_is_migration(jstr(hello, "id"))) {
		wire_send_error(&r.wire,
				"the other mitosis-cli speaks another protocol than %d: install the same version on both machines",
				CLI_PROTOCOL);
		json_object_put(hello);
		return CLI_FAILED;
	}
	snprintf(r.id, sizeof(r.id), "%s", jstr(hello, "id"));
	if (container_is_good(jget(hello, "container")))
		r.asked = jget(hello, "container");
	if (json_object_object_get_ex(hello, "status", NULL))
		return answer_resolve(&r, status);
	if (json_object_object_get_ex(hello, "forget", NULL))
		return answer_resolve(&r, forget);
	if (json_object_object_get_ex(hello, "finished", NULL))
		return answer_resolve(&r, finished);
	if (*jstr(hello, "fetch")) {
		ret = send_descriptor(&r, jstr(hello, "fetch"));
		json_object_put(hello);
		return ret;
	}
	if (*jstr(hello, "record")) {
		ret = send_record(&r, jstr(hello, "record"));
		json_object_put(hello);
		return ret;
	}
	places(&r);
	r.give_up = jint(hello, "give_up");
	r.timeout = jint(hello, "timeout");
	if (!r.timeout || r.timeout > WIRE_TIMEOUT_MAX_S)
		r.timeout = WIRE_TIMEOUT_MAX_S;
	r.tcp = jbool(hello, "tcp");
	r.wait = jbool(hello, "wait");
	r.criu_options = json_object_object_get(hello, "criu_options");
	r.container = jget(hello, "container");
	r.precopy = jbool(hello, "precopy");
	check_only = jbool(hello, "check_only");
	/* a look takes nothing away */
	if (!check_only)
		journal_for_each(sweep_journal, NULL);
	cli_sweep_work_dirs();
	sweep_cgroups();
	problems = json_object_new_array();
	/* who migrates decides it for both sides */
	cli_set_insecure(jbool(hello, "insecure"));
	check_machine(problems, NULL, *jstr(hello, "transport") ? jstr(hello, "transport") : NULL,
		      usable);
	unreached = json_object_new_object();
	probe_try(json_object_object_get(hello, "probes"), usable, unreached);
	if (!*usable)
		check_reach(problems, unreached);
	check_arrival(json_object_object_get(hello, "process"), problems);
	container_arrival(r.container, problems);
	if (json_object_array_length(problems))
		check_only = true;
	answer = json_object_new_object();
	json_object_object_add(answer, "problems", problems);
	json_object_object_add(answer, "transport", json_object_new_string(usable));
	json_object_object_add(answer, "unreached", unreached);
	json_object_object_add(answer, "precopy", json_object_new_boolean(r.precopy));
	if (wire_send(&r.wire, answer) || check_only)
		ret = check_only ? CLI_REFUSED : CLI_FAILED;
	else if (json_object_object_get_ex(hello, "fork", &fork))
		ret = receive_fork(&r, fork);
	else
		ret = receive(&r);
	json_object_put(hello);
	return ret;
}
