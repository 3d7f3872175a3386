// SPDX-License-Identifier: MIT
/* The destination's side of a migration: started by migrate over ssh, speaks on standard input and output. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "images/mitosis_image.h"

struct receive {
	struct wire wire;
	char id[17], dir[256], fence[256];
	unsigned int give_up;
	bool tcp, wait;
	struct mitosis *ctl;
	uint64_t snapshot;
	json_object *journal;
};

static void test_step(const char *name)
{
	const char *step = getenv("MITOSIS_TEST_STEP");
	char *from_file = NULL;
	size_t len = strlen(name);

	/* ssh hands no environment on: a test writes the step into this file */
	if (!step)
		step = from_file = cli_read_file("/run/mitosis-test-step");
	if (step && !strncmp(step, name, len) && step[len] == ':') {
		if (!strncmp(step + len + 1, "kill", 4))
			raise(SIGKILL);
		while (!strncmp(step + len + 1, "pause", 5) && access("/tmp/mitosis-test-go", F_OK))
			usleep(20000);
	}
	free(from_file);
}

/* Whether a test wants memory to come by faults alone until it has had its look: step drain:hold. */
static bool test_holds_drain(void)
{
	char *step = cli_read_file("/run/mitosis-test-step");
	bool held = step && !strncmp(step, "drain:hold", 10);

	free(step);
	return held;
}

static int say_key(struct receive *r, const char *key)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, key, json_object_new_boolean(true));
	return wire_send(&r->wire, o);
}

__attribute__((format(printf, 2, 3)))
static void say_error(struct receive *r, const char *fmt, ...)
{
	json_object *o = json_object_new_object();
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	json_object_object_add(o, "error", json_object_new_string(text));
	wire_send(&r->wire, o);
}

static bool id_is_good(const char *id)
{
	uint64_t value;

	return strlen(id) == 16 && strspn(id, "0123456789abcdef") == 16 && cli_parse_id(id, &value);
}

static void places(struct receive *r)
{
	snprintf(r->dir, sizeof(r->dir), "%s/%s", CLI_RUN_DIR, r->id);
	snprintf(r->fence, sizeof(r->fence), "%s/mitosis-%s", CLI_CGROUP, r->id);
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
	}
	json_object_object_add(r->journal, "state", json_object_new_string(state));
	return journal_save(r->id, r->journal);
}

/* Nothing of it may ever run here. */
static void discard(struct receive *r)
{
	fence_kill(r->fence);
	fence_remove(r->fence);
	if (r->ctl && r->snapshot)
		mitosis_link_close(r->ctl, r->snapshot);
	journal_remove(r->id);
}

static int receive_images(struct receive *r)
{
	int dirfd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = -1;
	json_object *o;

	while ((o = wire_recv(&r->wire, 600000, -1))) {
		if (json_object_object_get_ex(o, "end", NULL)) {
			ret = 0;
			break;
		}
		if (!json_object_object_get_ex(o, "file", NULL))
			break;
		ret = wire_recv_file(&r->wire, o, dirfd);
		if (ret) {
			say_error(r, "image %s cannot be written to %s (%s): make room there", jstr(o, "file"), r->dir,
				  strerror(-ret));
			break;
		}
		json_object_put(o);
		ret = -1;
	}
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
		say_error(r, "%s", err);
		return -1;
	}
	r->snapshot = img->snapshot;
	mitosis_image_free(img);
	return 0;
}

/* criu and all that it starts are in the fence from their first instruction on; the plugin freezes it. */
static pid_t start_criu(struct receive *r)
{
	char home[512], give_up[16];
	pid_t pid;

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
	execlp("criu", "criu", "restore", "-d", "-D", r->dir, "-o", "restore.log", "-v2", "-L",
	       cli_plugin_dir(), "--manage-cgroups=ignore", r->tcp ? "--tcp-established" : NULL, NULL);
	_exit(127);
}

static void criu_error(struct receive *r, int status)
{
	char path[300], *text, *line, *save, last[512] = "";

	snprintf(path, sizeof(path), "%s/restore.log", r->dir);
	text = cli_read_file(path);
	for (line = text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
		if (strstr(line, "Error (") && !strstr(line, "Restoring FAILED") && !*last)
			snprintf(last, sizeof(last), "%s", line);
	free(text);
	say_error(r, "criu could not restore the process (status %x): %s", status, *last ? last : "see its message above");
}

/* Waits for criu; the other side's hanging up ends it. */
static int wait_criu(struct receive *r, pid_t pid)
{
	int fd = syscall(SYS_pidfd_open, pid, 0), status;
	struct pollfd p[2] = { { fd, POLLIN, 0 }, { r->wire.in, 0, 0 } };

	for (;;) {
		int n = poll(p, 2, -1);

		if (n < 0 && errno == EINTR)
			continue;
		if (p[1].revents & (POLLHUP | POLLERR)) {
			/* everything in the fence goes, criu as well */
			fence_kill(r->fence);
			kill(pid, SIGKILL);
		}
		break;
	}
	close(fd);
	waitpid(pid, &status, 0);
	if (status) {
		criu_error(r, status);
		return -1;
	}
	return 0;
}

static int count_attached(const struct mitosis_attach_info *a, void *arg)
{
	(void)a;
	++*(size_t *)arg;
	return 0;
}

struct progress {
	uint64_t n, pages, pending, fault, drain, eager, dead;
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

/* The module drains whether anybody looks or not: a session that ends meanwhile costs only the view. */
static int report_drain(struct receive *r)
{
	struct progress last = {};
	uint64_t before[__MITOSIS_STAT_MAX], now[__MITOSIS_STAT_MAX];
	json_object *o;

	mitosis_stats(r->ctl, before);
	for (;;) {
		struct progress p = {};

		if (mitosis_attach_get(r->ctl, r->snapshot, add_progress, &p))
			return -1;
		if (!p.n)
			break;
		last = p;
		if (wire_send(&r->wire, progress_json(&p)))
			return -1;
		usleep(100000);
	}
	mitosis_stats(r->ctl, now);
	/* what arrived after the last look */
	last.drain += last.pending;
	last.pending = 0;
	if (now[MITOSIS_STAT_LINK_LOST] != before[MITOSIS_STAT_LINK_LOST]) {
		say_error(r, "the link to the source was lost for good, the process was killed: see dmesg");
		return -1;
	}
	o = progress_json(&last);
	json_object_object_add(o, "drained", json_object_new_boolean(true));
	return wire_send(&r->wire, o);
}

static int receive(struct receive *r)
{
	size_t attached = 0;
	json_object *o;
	bool held;
	pid_t pid;
	int ret = CLI_FAILED;

	if (cli_mkdir_p(r->dir, 0700)) {
		say_error(r, "directory %s cannot be made: %s", r->dir, strerror(errno));
		return ret;
	}
	if (receive_images(r) || read_descriptor(r))
		goto out;
	test_step("received");
	r->ctl = cli_open();
	if (!r->ctl || journal_set(r, "restoring") || fence_make(r->fence)) {
		say_error(r, "nothing can be restored there: see the message above");
		goto out;
	}
	pid = start_criu(r);
	test_step("restoring");
	if (pid < 0 || wait_criu(r, pid))
		goto out_discard;
	if (mitosis_attach_get(r->ctl, r->snapshot, count_attached, &attached)) {
		say_error(r, "%s", mitosis_error(r->ctl));
		goto out_discard;
	}
	if (!attached) {
		say_error(r, "criu restored the process, but no memory is attached: see dmesg there");
		goto out_discard;
	}
	if (!fence_exists(r->fence) || fence_freeze(r->fence, true)) {
		say_error(r, "the restored process is not frozen in cgroup %s", r->fence);
		goto out_discard;
	}
	test_step("restored");
	if (say_key(r, "ready"))
		goto out_discard;
	test_step("ready");
	/* from here to the answer nothing but the other side's word or its silence decides */
	o = wire_recv(&r->wire, -1, -1);
	if (!o || !json_object_object_get_ex(o, "commit", NULL)) {
		json_object_put(o);
		goto out_discard;
	}
	json_object_put(o);
	test_step("commit");
	if (journal_set(r, "running")) {
		/* not promised, not run: both sides stay frozen until resolve */
		say_error(r, "the journal cannot be written there");
		goto out;
	}
	test_step("journaled");
	held = test_holds_drain();
	/* first, so that it drains even when nothing but the process survives from here on */
	if (!held && mitosis_link_drain(r->ctl, r->snapshot))
		cli_say("%s", mitosis_error(r->ctl));
	fence_freeze(r->fence, false);
	test_step("thawed");
	say_key(r, "running");
	test_step("running");
	while (held && access("/tmp/mitosis-test-go", F_OK))
		usleep(20000);
	if (held)
		mitosis_link_drain(r->ctl, r->snapshot);
	ret = r->wait ? (report_drain(r) ? CLI_FAILED : CLI_OK) : CLI_OK;
	goto out;

out_discard:
	discard(r);
out:
	cli_remove_dir(r->dir);
	json_object_put(r->journal);
	if (r->ctl)
		mitosis_close(r->ctl);
	return ret;
}

/* What has become of a migration here, for resolve at the source; a RUNNING that was cut off is carried out. */
static int status(struct receive *r)
{
	const char *state;

	places(r);
	r->journal = journal_load(r->id);
	state = journal_state(r->journal);
	if (!strcmp(state, "running") && fence_exists(r->fence)) {
		r->ctl = cli_open();
		if (r->ctl && cli_parse_id(jstr(r->journal, "snapshot"), &r->snapshot))
			mitosis_link_drain(r->ctl, r->snapshot);
		fence_freeze(r->fence, false);
	}
	say_key(r, !strcmp(state, "running") ? "runs" : "does-not-run");
	json_object_put(r->journal);
	if (r->ctl)
		mitosis_close(r->ctl);
	return CLI_OK;
}

/* After this the migration can never run here, so it may run at its source again. */
static int forget(struct receive *r)
{
	places(r);
	r->journal = journal_load(r->id);
	if (!strcmp(journal_state(r->journal), "running")) {
		say_key(r, "runs");
		return CLI_OK;
	}
	r->ctl = cli_open();
	discard(r);
	say_key(r, "forgotten");
	if (r->ctl)
		mitosis_close(r->ctl);
	return CLI_OK;
}

/* Leftovers of migrations whose receiver is dead and that were never committed. */
static int sweep(const char *id, json_object *journal, void *arg)
{
	const char *fence = jstr(journal, "fence");

	(void)arg;
	if (strcmp(jstr(journal, "role"), "destination"))
		return 0;
	if (!strcmp(journal_state(journal), "running") && !fence_exists(fence))
		journal_remove(id);
	return 0;
}

int cmd_receive(int argc, char **argv)
{
	struct receive r = { .wire = { .in = 0, .out = 1 } };
	json_object *hello, *answer, *problems;
	bool check_only;

	(void)argv;
	signal(SIGPIPE, SIG_IGN);
	if (argc != 1) {
		cli_say("receive takes no options: mitosis-cli migrate starts it");
		return CLI_USAGE;
	}
	hello = wire_recv(&r.wire, 60000, -1);
	if (!hello || jint(hello, "hello") != CLI_PROTOCOL || !id_is_good(jstr(hello, "id"))) {
		say_error(&r, "the other mitosis-cli speaks another protocol than %d: install the same version on both machines",
			  CLI_PROTOCOL);
		json_object_put(hello);
		return CLI_FAILED;
	}
	snprintf(r.id, sizeof(r.id), "%s", jstr(hello, "id"));
	if (json_object_object_get_ex(hello, "status", NULL))
		return status(&r);
	if (json_object_object_get_ex(hello, "forget", NULL))
		return forget(&r);
	places(&r);
	r.give_up = jint(hello, "give_up");
	r.tcp = json_object_get_boolean(json_object_object_get(hello, "tcp"));
	r.wait = json_object_get_boolean(json_object_object_get(hello, "wait"));
	check_only = json_object_get_boolean(json_object_object_get(hello, "check_only"));
	journal_for_each(sweep, NULL);
	problems = json_object_new_array();
	check_machine(problems, NULL);
	check_arrival(json_object_object_get(hello, "process"), problems);
	if (json_object_array_length(problems))
		check_only = true;
	answer = json_object_new_object();
	json_object_object_add(answer, "problems", problems);
	json_object_put(hello);
	if (wire_send(&r.wire, answer) || check_only)
		return check_only ? CLI_REFUSED : CLI_FAILED;
	return receive(&r);
}
