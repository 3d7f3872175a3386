// SPDX-License-Identifier: MIT
/* The source's side of a migration, and check, which is its beginning. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/signalfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "images/mitosis_image.h"
#include "mitosis-criu-plugin/finish.h"

#define RELEASE_WAIT_MS	10000
#define ACTION_COMMITTED 'c'	/* to the action script, before the verdict */

struct migrate {
	/* options */
	pid_t pid;
	const char *to, *ssh, *addr, *transport, *container;
	char usable[MITOSIS_TRANSPORTS_LEN];	/* of the transports, on both sides */
	unsigned int give_up, timeout;
	bool wait, tcp, json, check_only, loopback, shared_volumes;
	char **criu_args;
	int ncriu_args;

	char id[17], dir[64], fence[640], what[320];	/* what: "process 4711" */
	json_object *described;		/* the container */
	struct wire wire;
	pid_t ssh_pid, criu_pid;
	int criu_fd;			/* pidfd */
	int action;			/* socket to the action script, -1: none */
	/* signalfd of what would end this command; -1: it ends it at once */
	int stop;
	struct mitosis *ctl;
	json_object *journal;
	uint64_t snapshot, bytes, pages;
	uint64_t t_start, t_checked, t_dump, t_frozen, t_sent, t_ready, t_running;
	json_object *drained;		/* the receiver's last report */
	json_object *problems;		/* what the preflight found, both sides */
	struct precopy precopy;
	bool precopy_possible;		/* the other side knows it, too */
	uint64_t precopied;		/* pages that had not been written to since */
};

static void test_step(struct migrate *m, const char *name)
{
	const char *action = cli_test_step(name);

	if (!action)
		return;
	if (!strcmp(action, "kill-criu") && m->criu_pid > 0)
		kill(m->criu_pid, SIGKILL);
	if (!strcmp(action, "kill-ssh") && m->ssh_pid > 0)
		kill(m->ssh_pid, SIGKILL);
	/* until it is dead */
	usleep(200000);
}

static void remote_end(struct migrate *m)
{
	if (m->ssh_pid <= 0)
		return;
	wire_remote_end(&m->wire, m->ssh_pid);
	m->ssh_pid = 0;
}

/* An answer with this key; NULL when the other side failed, with a sentence said. */
static json_object *remote_expect(struct migrate *m, const char *key, int timeout_s)
{
	json_object *o = wire_recv(&m->wire, timeout_s * 1000);

	if (o && json_object_object_get_ex(o, key, NULL))
		return o;
	if (o && *jstr(o, "error"))
		cli_say("%s: %s", m->to, jstr(o, "error"));
	else if (!o && errno == ECANCELED)
		cli_say("stopped by a signal");
	else if (!o && errno == ETIMEDOUT)
		cli_say("%s does not answer within %d s: see whether it is overloaded or the link is down",
			m->to, timeout_s);
	else
		cli_say("the ssh session to %s ended: see ssh's own message, and whether mitosis-cli is installed there",
			m->to);
	json_object_put(o);
	return NULL;
}

static json_object *hello(struct migrate *m, json_object *described, json_object *probes,
			  bool check_only)
{
	json_object *o = wire_hello(m->id), *options = json_object_new_array();
	int i;

	json_object_object_add(o, "check_only", json_object_new_boolean(check_only));
	json_object_object_add(o, "transport", json_object_new_string(m->usable));
	json_object_object_add(o, "insecure", json_object_new_boolean(cli_insecure()));
	json_object_object_add(o, "probes", probes);
	json_object_object_add(o, "give_up", json_object_new_int(m->give_up));
	json_object_object_add(o, "timeout", json_object_new_int(m->timeout));
	json_object_object_add(o, "tcp", json_object_new_boolean(m->tcp));
	json_object_object_add(o, "wait", json_object_new_boolean(m->wait));
	json_object_object_add(o, "precopy", json_object_new_boolean(m->precopy.rounds));
	for (i = 0; i < m->ncriu_args; i++)
		json_object_array_add(options, json_object_new_string(m->criu_args[i]));
	json_object_object_add(o, "criu_options", options);
	if (described)
		json_object_object_add(o, "process", described);
	if (m->described)
		json_object_object_add(o, "container", json_object_get(m->described));
	return o;
}

/* What goes over another transport than the best one should not go unnoticed. */
static void say_unreached(struct migrate *m, json_object *unreached)
{
	json_object_object_foreach(unreached, name, why)
		cli_say("transport %s is not used, %s goes before it: %s", name, m->usable,
			json_object_get_string(why));
}

/* Both sides, before anything is touched. */
static int preflight(struct migrate *m)
{
	json_object *problems = json_object_new_array(), *described = NULL, *answer, *unreached;
	struct probe probe;
	int ret;

	m->problems = json_object_new_array();
	check_machine(problems, m->addr, m->transport, m->usable);
	if (m->container)
		m->described = container_describe(m->container, m->shared_volumes, problems);
	else if (m->pid)
		described = check_describe(m->pid, m->tcp, problems);
	if (m->container)
		snprintf(m->what, sizeof(m->what), "container %s", m->container);
	else
		snprintf(m->what, sizeof(m->what), "process %d", m->pid);
	ret = check_report(problems, "here", m->problems);
	json_object_put(problems);
	if (!m->to) {
		json_object_put(described);
		return ret;
	}
	if (wire_remote(&m->wire, m->ssh, m->to, &m->ssh_pid)) {
		json_object_put(described);
		return CLI_REFUSED;
	}
	wire_send(&m->wire, hello(m, described, probe_offer(&probe, m->usable, m->addr),
				  m->check_only || ret != CLI_OK));
	answer = remote_expect(m, "problems", WIRE_STALL_S + PROBES * MITOSIS_CONNECT_TIMEOUT);
	probe_end(&probe);
	if (!answer)
		return CLI_REFUSED;
	m->precopy_possible = jbool(answer, "precopy");
	problems = json_object_object_get(answer, "problems");
	if (json_object_is_type(problems, json_type_array) &&
	    check_report(problems, m->to, m->problems))
		ret = CLI_REFUSED;
	/*
	 * What the other side lacks is not offered to it. One that does not say is of before there
	 * was a choice.
	 */
	if (json_object_object_get_ex(answer, "transport", NULL)) {
		snprintf(m->usable, sizeof(m->usable), "%s", jstr(answer, "transport"));
		if (*m->usable && json_object_object_get_ex(answer, "unreached", &unreached) &&
		    json_object_is_type(unreached, json_type_object))
			say_unreached(m, unreached);
	} else if (mitosis_transports_have(m->usable, "rc")) {
		strcpy(m->usable, "rc");
	} else if (ret == CLI_OK) {
		cli_say("%s has an older mitosis, which knows transport rc only: install the same version there, or use --transport rc",
			m->to);
		ret = CLI_REFUSED;
	}
	json_object_put(answer);
	return ret;
}

static int journal_set(struct migrate *m, const char *state)
{
	json_object_object_add(m->journal, "state", json_object_new_string(state));
	return journal_save(m->id, m->journal);
}

/* The fence: every process of the tree in one frozen cgroup, its way back written down first. */
static int fence_source(struct migrate *m)
{
	json_object *procs = json_object_new_array();
	char cgroup[512];
	size_t i, n;
	pid_t *tree;
	int ret = -1;

	tree = cli_tree(m->pid, &n);
	m->journal = json_object_new_object();
	json_object_object_add(m->journal, "role", json_object_new_string("source"));
	json_object_object_add(m->journal, "peer", json_object_new_string(m->to));
	json_object_object_add(m->journal, "procs", procs);
	journal_own(m->journal);
	if (!tree || cli_cgroup_of(m->pid, cgroup, sizeof(cgroup))) {
		cli_say("process %d has no cgroup v2: mount one at " CLI_CGROUP, m->pid);
		goto out;
	}
	snprintf(m->fence, sizeof(m->fence), "%s/mitosis-%s", cgroup, m->id);
	json_object_object_add(m->journal, "fence", json_object_new_string(m->fence));
	snprintf(cgroup, sizeof(cgroup), "%016lx", (unsigned long)m->snapshot);
	json_object_object_add(m->journal, "snapshot", json_object_new_string(cgroup));
	for (i = 0; i < n; i++) {
		json_object *p = json_object_new_object();

		if (cli_cgroup_of(tree[i], cgroup, sizeof(cgroup)))
			continue;
		json_object_object_add(p, "pid", json_object_new_int(tree[i]));
		json_object_object_add(p, "cgroup", json_object_new_string(cgroup));
		json_object_array_add(procs, p);
	}
	if (journal_set(m, "fenced") || fence_make(m->fence))
		goto out;
	for (i = 0; i < n; i++)
		if (fence_move(m->fence, tree[i]))
			goto out;
	ret = fence_freeze(m->fence, true);
out:
	free(tree);
	return ret;
}

static void sending_step(void *arg)
{
	test_step(arg, "sending");
}

static int send_images(struct migrate *m)
{
	int ret;

	/* the process is frozen meanwhile */
	m->wire.send_by = cli_now_ms() + m->timeout * 1000ULL;
	ret = wire_send_images(&m->wire, m->dir, m->to, &m->bytes, sending_step, m);
	m->wire.send_by = 0;
	return ret;
}

static int criu_start(struct migrate *m, const char *sock)
{
	char pid[16], self[PATH_MAX], bases[PRECOPY_BASES_LEN], *argv[CLI_CRIU_ARGS];
	int n;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return -1;
	self[n] = 0;
	snprintf(pid, sizeof(pid), "%d", m->pid);
	n = cli_criu_dump(argv, pid, m->dir);
	argv[n++] = "--action-script";
	argv[n++] = self;
	if (m->tcp)
		argv[n++] = "--tcp-established";
	cli_criu_options(argv, n, m->criu_args, m->ncriu_args);
	setenv("MITOSIS_ONESHOT", "1", 1);
	/* a lease that ends takes the memory from a process that runs there, or may have to */
	setenv("MITOSIS_LEASE", "0", 1);
	setenv("MITOSIS_ACTION_SOCKET", sock, 1);
	setenv("MITOSIS_ACTION_ID", m->id, 1);
	if (m->addr)
		setenv("MITOSIS_ADDR", m->addr, 1);
	setenv("MITOSIS_TRANSPORT", m->usable, 1);
	precopy_bases(&m->precopy, bases);
	setenv("MITOSIS_BASE", bases, 1);
	if (cli_spawn(argv, -1, 2, &m->criu_pid))
		return -1;
	m->criu_fd = syscall(SYS_pidfd_open, m->criu_pid, 0);
	return m->criu_fd < 0 ? -1 : 0;
}

static int criu_wait(struct migrate *m)
{
	int status = 0;

	if (m->criu_pid <= 0)
		return -1;
	waitpid(m->criu_pid, &status, 0);
	m->criu_pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static bool criu_ended(struct migrate *m)
{
	siginfo_t info = {};

	return m->criu_pid <= 0 ||
		(!waitid(P_PID, m->criu_pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid);
}

static void action_answer(struct migrate *m, char verdict)
{
	if (m->action >= 0 && write(m->action, &verdict, 1) != 1)
		verdict = 0;	/* criu is gone: the fence is what holds the tree */
}

/* Before COMMIT: as if nothing had happened. */
static void roll_back(struct migrate *m)
{
	if (m->ssh_pid > 0)
		wire_send_key(&m->wire, "abort");
	if (m->journal)
		fence_undo(m->journal);
	action_answer(m, '1');
	criu_wait(m);
	if (m->snapshot)
		mitosis_release(m->ctl, m->snapshot);
	journal_remove(m->id);
}

/*
 * What has been sent, with this result, is to run there. CLI_FAILED: it never will, and the caller
 * takes it back.
 */
static int hand_over(struct migrate *m, int sent)
{
	json_object *o;

	/*
	 * a receiver that fails says why before it hangs up; one that waits for the rest does not
	 */
	o = sent && sent != -EPIPE ? NULL : remote_expect(m, "ready", m->timeout);
	json_object_put(o);
	if (!o || sent)
		return CLI_FAILED;
	/* from here on it is too late to stop */
	m->wire.stop = -1;
	m->t_ready = cli_now_ms();
	test_step(m, "ready");
	if (journal_set(m, "committed"))
		return CLI_FAILED;
	/* from now on a missing journal means to the script that resolve has been quicker */
	action_answer(m, ACTION_COMMITTED);
	test_step(m, "commit");
	/* what is not written whole is no COMMIT */
	if (wire_send_key(&m->wire, "commit")) {
		cli_say("the ssh session to %s ended: see ssh's own message", m->to);
		return CLI_FAILED;
	}
	test_step(m, "committed");
	o = remote_expect(m, "running", m->timeout);
	json_object_put(o);
	if (!o) {
		cli_say("nobody can tell whether %s runs on %s: it %s here; run mitosis-cli resolve %s --to %s",
			m->what, m->to, m->container ? "is stopped" : "stands still", m->id, m->to);
		return CLI_DOUBT;
	}
	m->t_running = cli_now_ms();
	journal_set(m, "running");
	test_step(m, "running");
	return CLI_OK;
}

/* Nobody will ask any more what has become of it there. */
static void finish(struct migrate *m)
{
	if (wire_send_key(&m->wire, "finished"))
		cli_say("%s cannot be told that nothing is left here, and keeps its journal: run mitosis-cli resolve %s --to %s",
			m->to, m->id, m->to);
	else
		journal_remove(m->id);
}

/*
 * With all tasks stopped by criu and its images complete. -1, a sentence said: their memory cannot
 * be held.
 */
static int hold(struct migrate *m)
{
	char err[MITOSIS_ERROR_LEN];
	struct mitosis_finish info;
	int dirfd, ret;

	test_step(m, "dumped");
	dirfd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ret = mitosis_dump_finish(m->ctl, dirfd, &info, err, sizeof(err));
	/* the plugin takes a sealed one for ours: its own step may have died after that */
	if (ret)
		mitosis_dump_abandon(m->ctl, dirfd, 0);
	close(dirfd);
	if (ret == -ENOENT) {
		/* the plugin's own step came first, has said why, and has taken its image away */
		cli_say_criu_errors(m->dir, "dump.log");
		cli_say("the memory of process %d cannot be held: see the message above", m->pid);
		return -1;
	}
	if (ret) {
		cli_say("the memory of process %d cannot be held: %s", m->pid, err);
		return -1;
	}
	m->snapshot = info.snapshot;
	m->pages = info.pages + info.inherited;
	m->precopied = info.inherited;
	test_step(m, "held");
	return 0;
}

/* With their memory held. */
static int transaction(struct migrate *m)
{
	int ret;

	if (fence_source(m))
		goto back;
	/*
	 * without criu nothing has held the tasks until the fence was closed: their memory has gone
	 * on
	 */
	if (criu_ended(m)) {
		cli_say("criu ended before its work was done: see its message");
		goto back;
	}
	test_step(m, "fenced");
	ret = send_images(m);
	m->t_sent = cli_now_ms();
	test_step(m, "sent");
	ret = hand_over(m, ret);
	if (ret == CLI_DOUBT) {
		action_answer(m, '1');
		criu_wait(m);
		return ret;
	}
	if (ret)
		goto back;
	action_answer(m, '0');
	criu_wait(m);
	/* criu has killed what it was allowed to; without criu nobody has */
	if (fence_kill(m->fence)) {
		cli_say("cgroup %s could not be emptied, what is in it runs on %s: run mitosis-cli resolve %s later",
			m->fence, m->to, m->id);
		return CLI_OK;
	}
	fence_remove(m->fence);
	finish(m);
	return CLI_OK;

back:
	roll_back(m);
	cli_say("process %d runs on here", m->pid);
	return CLI_FAILED;
}

/* Nothing of it runs there: it goes on from its checkpoint, whose memory is held here. */
static void take_back(struct migrate *m)
{
	char archive[128];

	/* it may be why there is no room left, and a restore here is not from it */
	snprintf(archive, sizeof(archive), "%s/" CONTAINER_ARCHIVE, m->dir);
	unlink(archive);
	m->wire.stop = -1;
	wire_send_key(&m->wire, "abort");
	/* its addresses must have gone from there */
	remote_end(m);
	if (container_restore_here(m->described, jstr(m->journal, "snapshot"))) {
		cli_say("%s cannot be restored here: see the message above; its checkpoint and its memory are kept, mitosis-cli resolve %s --here run tries again",
			m->what, m->id);
		return;
	}
	journal_remove(m->id);
	cli_say("%s runs on here", m->what);
}

static int begin_container(struct migrate *m)
{
	char addr[MITOSIS_ADDR_LEN + 16], transport[MITOSIS_TRANSPORTS_LEN + 32];
	const char *settings[] = {
		"MITOSIS_ONESHOT=1", "MITOSIS_LEASE=0", transport,
		cli_insecure() ? "MITOSIS_INSECURE=1" : "MITOSIS_INSECURE=", m->addr ? addr : NULL,
		NULL
	};

	snprintf(addr, sizeof(addr), "MITOSIS_ADDR=%s", m->addr ?: "");
	snprintf(transport, sizeof(transport), "MITOSIS_TRANSPORT=%s", m->usable);
	m->journal = json_object_new_object();
	json_object_object_add(m->journal, "role", json_object_new_string("source"));
	json_object_object_add(m->journal, "peer", json_object_new_string(m->to));
	json_object_object_add(m->journal, "container", json_object_get(m->described));
	json_object_object_add(m->journal, "insecure", json_object_new_boolean(cli_insecure()));
	journal_own(m->journal);
	return container_criu(m->dir, settings) || journal_set(m, "fenced");
}

/* The checkpoint that podman has made, with the descriptor beside it. */
static int send_container(struct migrate *m)
{
	int images = container_images(m->described);
	int dirfd = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;
	struct mitosis_finish info;
	char err[MITOSIS_ERROR_LEN], snapshot[17];

	ret = mitosis_dump_finish(m->ctl, images, &info, err, sizeof(err));
	if (ret) {
		cli_say("podman's checkpoint of %s is not one of mitosis: %s", m->what, err);
		goto out;
	}
	m->snapshot = info.snapshot;
	m->pages = info.pages;
	snprintf(snapshot, sizeof(snapshot), "%016lx", (unsigned long)m->snapshot);
	json_object_object_add(m->journal, "snapshot", json_object_new_string(snapshot));
	ret = journal_set(m, "fenced");
	if (ret)
		goto out;
	m->wire.send_by = cli_now_ms() + m->timeout * 1000ULL;
	ret = wire_send_file(&m->wire, images, MITOSIS_IMAGE_NAME, &m->bytes);
	if (!ret)
		ret = wire_send_file(&m->wire, dirfd, CONTAINER_ARCHIVE, &m->bytes);
	if (!ret)
		ret = wire_send_key(&m->wire, "end");
	m->wire.send_by = 0;
	if (ret)
		cli_say("the checkpoint of %s cannot be sent to %s: %s", m->what, m->to,
			ret == -ECANCELED ? "stopped by a signal" : strerror(-ret));
out:
	close(dirfd);
	close(images);
	return ret;
}

/*
 * Whoever ends this command while an engine has the container stopped wants it to go on: until
 * m->stop is closed the signals wait, and so what is to be done about it is done first. One that is
 * ignored stays so: blocked, it would wait like the others.
 */
static int stop_later(struct migrate *m)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action;
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	for (i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (!sigaction(signals[i], NULL, &action) && action.sa_handler != SIG_IGN)
			sigaddset(&set, signals[i]);
	m->stop = sigprocmask(SIG_BLOCK, &set, NULL) ? -1 : signalfd(-1, &set, SFD_CLOEXEC);
	m->wire.stop = m->stop;
	return m->stop < 0 ? -1 : 0;
}

/* Those that have come end this command now. */
static void stop_now(struct migrate *m)
{
	if (m->stop >= 0)
		close(m->stop);
	m->stop = -1;
	cli_unblock_signals();
}

/* Another move of the same container may have come first, or somebody has stopped it. */
static int container_is_as_described(struct migrate *m)
{
	if (container_runs(m->described) > 0 && cli_process_lives(m->described, "pid"))
		return 0;
	cli_say("%s does not run as it did a moment ago: see podman ps and mitosis-cli resolve",
		m->what);
	return -1;
}

/*
 * As transaction(), but an engine's checkpoint ends what it describes: what is taken back is
 * restored.
 */
static int move_container(struct migrate *m)
{
	pid_t podman;
	int ret;

	if (container_is_as_described(m))
		return CLI_REFUSED;
	if (stop_later(m) || begin_container(m)) {
		cli_say("the move of %s cannot be begun in %s", m->what, m->dir);
		journal_remove(m->id);
		return CLI_FAILED;
	}
	m->t_dump = cli_now_ms();
	test_step(m, "start");
	podman = container_checkpoint(m->described, m->dir);
	/* should we die, it goes on */
	cli_process_add(m->journal, "podman", podman);
	ret = journal_set(m, "fenced");
	if (container_checkpointed(podman) || ret) {
		cli_say("podman could not checkpoint %s: see its message above", m->what);
		take_back(m);
		return CLI_FAILED;
	}
	m->t_frozen = cli_now_ms();
	test_step(m, "dumped");
	ret = send_container(m);
	m->t_sent = cli_now_ms();
	test_step(m, "sent");
	ret = hand_over(m, ret);
	if (ret == CLI_FAILED)
		take_back(m);
	if (ret)
		return ret;
	if (container_leave(m->described, m->to))
		cli_say("%s runs on %s, and must not be started here: run mitosis-cli resolve %s when it can be removed",
			m->what, m->to, m->id);
	else
		finish(m);
	return CLI_OK;
}

static void progress_bar(struct migrate *m, int64_t total, int64_t pending)
{
	int64_t come = total - pending, ms = cli_now_ms() - m->t_running;
	int filled = come * 40 / total;

	/* pages of 4 KiB: 256 a MiB */
	fprintf(stderr, "\r[%.*s%*s] %3ld %%  %ld of %ld MiB  %ld MiB/s  %ld s left ", filled,
		"########################################", 40 - filled, "",
		(long)(come * 100 / total), (long)come / 256, (long)total / 256,
		ms ? (long)(come * 1000 / ms / 256) : 0,
		come ? (long)(pending * ms / come / 1000) : 0);
}

static int follow_drain(struct migrate *m)
{
	bool tty = isatty(2);
	json_object *o;

	while ((o = wire_recv(&m->wire, 600000))) {
		int64_t total = jint(o, "pages"), pending = jint(o, "pending");

		if (json_object_object_get_ex(o, "drained", NULL)) {
			if (tty)
				fputc('\n', stderr);
			m->drained = o;
			return 0;
		}
		if (*jstr(o, "error")) {
			cli_say("%s: %s", m->to, jstr(o, "error"));
			json_object_put(o);
			return -1;
		}
		if (tty && total > 0 && pending >= 0 && pending <= total)
			progress_bar(m, total, pending);
		json_object_put(o);
	}
	cli_say("%s; %s runs on %s and goes on draining: see mitosis-cli list there",
		errno == ECANCELED ? "stopped by a signal" : "the ssh session ended", m->what,
		m->to);
	return -1;
}

/* The destination's last page lets go of the link, and that of the memory here: a moment later. */
static int wait_released(struct migrate *m)
{
	uint64_t end = cli_now_ms() + RELEASE_WAIT_MS;
	struct mitosis_hold_info hold;

	do {
		if (mitosis_hold_find(m->ctl, m->snapshot, &hold) <= 0)
			return 0;
		usleep(10000);
	} while (cli_now_ms() < end);
	cli_say("snapshot %016lx is still held here although %s has all its pages: mitosis-cli show tells who uses it, mitosis-cli release lets go of it",
		(unsigned long)m->snapshot, m->to);
	return -1;
}

static void summary(struct migrate *m)
{
	json_object *o = json_object_new_object();
	uint64_t end = cli_now_ms();

	json_object_object_add(o, "id", json_object_new_string(m->id));
	if (m->container)
		json_object_object_add(o, "container", json_object_new_string(m->container));
	else
		json_object_object_add(o, "pid", json_object_new_int(m->pid));
	json_object_object_add(o, "to", json_object_new_string(m->to));
	json_object_object_add(o, "preflight_ms",
			       json_object_new_uint64(m->t_checked - m->t_start));
	json_object_object_add(o, "dump_ms", json_object_new_uint64(m->t_frozen - m->t_dump));
	json_object_object_add(o, "hold_and_send_ms",
			       json_object_new_uint64(m->t_sent - m->t_frozen));
	json_object_object_add(o, "restore_ms", json_object_new_uint64(m->t_ready - m->t_sent));
	json_object_object_add(o, "commit_ms", json_object_new_uint64(m->t_running - m->t_ready));
	json_object_object_add(o, "downtime_ms", json_object_new_uint64(m->t_running - m->t_dump));
	json_object_object_add(o, "bytes_before_resume", json_object_new_uint64(m->bytes));
	json_object_object_add(o, "pages", json_object_new_uint64(m->pages));
	if (m->precopy.n) {
		json_object_object_add(o, "precopy_rounds", json_object_new_int(m->precopy.n));
		json_object_object_add(o, "precopy_ms", json_object_new_uint64(m->precopy.ms));
		json_object_object_add(o, "precopy_stopped_ms",
				       json_object_new_uint64(m->precopy.stopped_ms));
		json_object_object_add(o, "precopy_pages",
				       json_object_new_uint64(m->precopy.pages));
		json_object_object_add(o, "pages_precopied", json_object_new_uint64(m->precopied));
	}
	if (m->drained)
		json_object_object_add(o, "drain_ms", json_object_new_uint64(end - m->t_running));
	/* when all had come before the first look at it, nobody has counted */
	if (m->drained && jint(m->drained, "pages")) {
		json_object_object_add(o, "pages_by_fault",
				       json_object_new_int64(jint(m->drained, "fault")));
		json_object_object_add(o, "pages_by_drain",
				       json_object_new_int64(jint(m->drained, "drain")));
		json_object_object_add(o, "pages_eager",
				       json_object_new_int64(jint(m->drained, "eager")));
		json_object_object_add(o, "pages_dead",
				       json_object_new_int64(jint(m->drained, "dead")));
	}
	if (m->json) {
		printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	} else {
		json_object_object_foreach(o, key, value)
			printf("%-20s %s\n", key, json_object_get_string(value));
	}
	json_object_put(o);
}

/* Waits for the action script to call; -1 when criu has ended without. */
static int action_wait(struct migrate *m, int listen_fd)
{
	struct pollfd p[2] = { { listen_fd, POLLIN, 0 }, { m->criu_fd, POLLIN, 0 } };

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
	if (p[0].revents)
		m->action = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	return m->action < 0 ? -1 : 0;
}

/*
 * Stops the process, and has its images and memory. -1, a sentence said: criu has failed. -EAGAIN:
 * the memory cannot be held.
 */
static int dump(struct migrate *m, int *listen_fd, const char *sock)
{
	int ret;

	m->t_dump = cli_now_ms();
	if (criu_start(m, sock)) {
		cli_say("criu cannot be started: %s", strerror(errno));
		return -1;
	}
	test_step(m, "start");
	if (action_wait(m, *listen_fd)) {
		/*
		 * a script that could not be accepted waits for an answer, and criu for the script
		 */
		close(*listen_fd);
		*listen_fd = -1;
		ret = criu_wait(m);
		cli_say_criu_errors(m->dir, "dump.log");
		cli_say("criu could not dump process %d (status %d): it runs on here; criu's own words are above, see criu-dump options after --",
			m->pid, ret);
		return -1;
	}
	m->t_frozen = cli_now_ms();
	return hold(m) ? -EAGAIN : 0;
}

/* Lets a process run on whose memory could not be held. */
static void dump_undo(struct migrate *m)
{
	DIR *d = opendir(m->dir);
	struct dirent *e;

	action_answer(m, '1');
	criu_wait(m);
	close(m->action);
	m->action = -1;
	while (d && (e = readdir(d)))
		if (cli_is_image(e->d_name))
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

static json_object *precopy_expect(void *arg, const char *key, int timeout_s)
{
	return remote_expect(arg, key, timeout_s);
}

static void precopy_step(void *arg)
{
	test_step(arg, "precopied");
}

/* Not 0: the process is not to be moved. */
static int precopy(struct migrate *m)
{
	struct precopy *p = &m->precopy;
	int ret = 0;

	if (p->rounds && !m->precopy_possible) {
		cli_say("no pre-copy: %s has an older mitosis", m->to);
		return 0;
	}
	if (p->rounds) {
		p->addr = m->addr;
		p->transports = m->usable;
		p->criu_args = m->criu_args;
		p->ncriu_args = m->ncriu_args;
		p->ctl = m->ctl;
		p->wire = &m->wire;
		p->patience = m->give_up + WIRE_STALL_S;
		p->expect = precopy_expect;
		p->step = precopy_step;
		p->arg = m;
		ret = precopy_run(p);
	}
	if (!ret && *p->chosen)
		cli_say("%s", p->chosen);
	return ret;
}

static int migrate(struct migrate *m)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int listen_fd = -1, work = -1, lock, ret;

	m->t_start = cli_now_ms();
	cli_sweep_work_dirs();
	m->precopy.pid = m->pid;
	if (m->check_only || m->container || !precopy_wanted(&m->precopy))
		m->precopy.rounds = 0;
	ret = preflight(m);
	if (ret != CLI_OK || m->check_only)
		goto out;
	m->ctl = cli_open();
	ret = CLI_FAILED;
	if (!m->ctl)
		goto out;
	work = cli_work_dir(m->container ? CLI_STATE_DIR : CLI_RUN_DIR, m->id, m->dir,
			    sizeof(m->dir));
	if (work < 0) {
		cli_say("directory %s cannot be made: %s", m->dir, strerror(errno));
		goto out;
	}
	m->t_checked = cli_now_ms();
	if (m->container) {
		/* podman leaves a process behind that lives as long as the container */
		fcntl(work, F_SETFD, FD_CLOEXEC);
		test_step(m, "checked");
		lock = container_lock(m->described);
		if (lock >= 0)
			ret = move_container(m);
		journal_unlock(lock);
		m->wire.stop = m->stop;
		goto moved;
	}
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/action.sock", m->dir);
	listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	umask(077);
	if (listen_fd < 0 || bind(listen_fd, (void *)&un, sizeof(un)) || listen(listen_fd, 1)) {
		cli_say("socket %s cannot be made: %s", un.sun_path, strerror(errno));
		goto out;
	}
	if (precopy(m)) {
		cli_say("process %d runs on here", m->pid);
		goto out;
	}
	ret = dump(m, &listen_fd, un.sun_path);
	/* what is held for pre-copy is counted, too; nobody has asked for it */
	if (ret == -EAGAIN && m->precopy.n && m->precopy.rounds == PRECOPY_AUTO) {
		cli_say("process %d is dumped once more, without pre-copy", m->pid);
		dump_undo(m);
		precopy_drop(&m->precopy);
		ret = dump(m, &listen_fd, un.sun_path);
	}
	if (ret) {
		roll_back(m);
		if (ret == -EAGAIN)
			cli_say("process %d runs on here", m->pid);
		ret = CLI_FAILED;
		goto out;
	}
	ret = transaction(m);
moved:
	if (ret != CLI_OK)
		goto out;
	if (m->wait && (follow_drain(m) || wait_released(m)))
		ret = CLI_FAILED;
	summary(m);
out:
	if (listen_fd >= 0)
		close(listen_fd);
	if (work >= 0) {
		cli_remove_dir(m->dir);
		close(work);
	}
	remote_end(m);
	json_object_put(m->drained);
	if (!m->check_only)
		json_object_put(m->problems);
	json_object_put(m->journal);
	json_object_put(m->described);
	if (m->ctl)
		mitosis_close(m->ctl);
	stop_now(m);
	return ret;
}

static int parse(struct migrate *m, int argc, char **argv)
{
	static const struct option options[] = {
		{ "pid", 1, NULL, 'p' },       { "to", 1, NULL, 't' },
		{ "ssh", 1, NULL, 's' },       { "addr", 1, NULL, 'a' },
		{ "no-wait", 0, NULL, 'n' },   { "give-up", 1, NULL, 'g' },
		{ "timeout", 1, NULL, 'T' },   { "tcp-established", 0, NULL, 'e' },
		{ "json", 0, NULL, 'j' },      { "transport", 1, NULL, 'x' },
		{ "loopback", 0, NULL, 'l' },  { "insecure", 0, NULL, 'i' },
		{ "container", 1, NULL, 'c' }, { "shared-volumes", 0, NULL, 'v' },
		{ "precopy", 2, NULL, 'P' },   {}
	};
	int c;

	memset(m, 0, sizeof(*m));
	m->precopy.rounds = PRECOPY_AUTO;
	m->action = -1;
	m->stop = -1;
	m->criu_fd = -1;
	m->wait = true;
	m->timeout = 120;
	m->give_up = MITOSIS_GIVE_UP_DEFAULT;
	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			m->pid = atoi(optarg);
			break;
		case 't':
			m->to = optarg;
			break;
		case 's':
			m->ssh = optarg;
			break;
		case 'a':
			m->addr = optarg;
			break;
		case 'n':
			m->wait = false;
			break;
		case 'g':
			m->give_up = atoi(optarg);
			break;
		case 'T':
			m->timeout = atoi(optarg);
			break;
		case 'e':
			m->tcp = true;
			break;
		case 'j':
			m->json = true;
			break;
		case 'x':
			if (!cli_transports_are_good(optarg))
				return -1;
			m->transport = optarg;
			break;
		case 'l':
			m->loopback = true;
			break;
		case 'i':
			cli_set_insecure(true);
			break;
		case 'c':
			m->container = optarg;
			break;
		case 'v':
			m->shared_volumes = true;
			break;
		case 'P':
			m->precopy.rounds = precopy_parse(optarg);
			if (m->precopy.rounds < 0) {
				cli_say("--precopy=%s is no number of rounds: give 0 to %d, or auto",
					optarg, PRECOPY_MAX);
				return -1;
			}
			break;
		default:
			return -1;
		}
	}
	if (m->to && !wire_host_is_good(m->to))
		return -1;
	if (m->container && m->precopy.rounds && m->precopy.rounds != PRECOPY_AUTO) {
		cli_say("--precopy is for processes: a container is moved without");
		return -1;
	}
	if (!m->give_up || !m->timeout || m->timeout > WIRE_TIMEOUT_MAX_S || m->pid < 0) {
		cli_say("--pid, --give-up and --timeout take whole numbers above 0, --timeout %d at most",
			WIRE_TIMEOUT_MAX_S);
		return -1;
	}
	if (m->container && (m->pid || *m->container == '-')) {
		cli_say("--container takes the name of a container of podman, and no --pid beside it");
		return -1;
	}
	if (optind < argc && strcmp(argv[optind - 1], "--")) {
		cli_say("%s belongs to no option: options of criu come after --, and a number of rounds is given as --precopy=2",
			argv[optind]);
		return -1;
	}
	m->criu_args = argv + optind;
	m->ncriu_args = argc - optind;
	if (m->container && m->ncriu_args) {
		cli_say("a container's criu gets its options from podman: put others into /etc/criu/default.conf");
		return -1;
	}
	wire_new_id(m->id);
	return 0;
}

int cmd_migrate(int argc, char **argv)
{
	struct migrate m;

	signal(SIGPIPE, SIG_IGN);
	if (parse(&m, argc, argv))
		return CLI_USAGE;
	if ((!m.pid && !m.container) || !m.to || m.loopback) {
		cli_say("migrate needs --pid or --container, and --to, and takes no --loopback: see mitosis-cli migrate --help");
		return CLI_USAGE;
	}
	return migrate(&m);
}

/* A transport reads from itself. */
static int check_loopback(const struct migrate *m)
{
	char addr[MITOSIS_ADDR_LEN] = "";
	struct mitosis *ctl;
	uint64_t ns = 0;
	int ret;

	if (!m->transport || strchr(m->transport, ',') || m->pid || m->to) {
		cli_say("check --loopback is for one --transport, without --pid and --to");
		return CLI_USAGE;
	}
	ctl = cli_open();
	if (!ctl)
		return CLI_FAILED;
	if (m->addr)
		snprintf(addr, sizeof(addr), "%s", m->addr);
	else if (!strcmp(m->transport, "rc"))
		mitosis_default_addr(addr);
	ret = mitosis_transport_test(ctl, m->transport, cli_insecure(), *addr ? addr : NULL, &ns);
	if (m->json) {
		json_object *o = json_object_new_object();

		json_object_object_add(o, "ok", json_object_new_boolean(!ret));
		json_object_object_add(o, "transport", json_object_new_string(m->transport));
		if (ret)
			json_object_object_add(o, "problem",
					       json_object_new_string(mitosis_error(ctl)));
		else
			json_object_object_add(o, "read_ns", json_object_new_uint64(ns));
		printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
		json_object_put(o);
	} else if (ret) {
		cli_say("%s", mitosis_error(ctl));
	} else {
		printf("transport %s works: it reads a page in %.1f us, and what it may not read is refused\n",
		       m->transport, ns / 1e3);
	}
	mitosis_close(ctl);
	return ret ? CLI_REFUSED : CLI_OK;
}

int cmd_check(int argc, char **argv)
{
	struct migrate m;
	int ret;

	signal(SIGPIPE, SIG_IGN);
	if (parse(&m, argc, argv))
		return CLI_USAGE;
	if (m.loopback)
		return check_loopback(&m);
	m.check_only = true;
	ret = migrate(&m);
	if (m.json) {
		json_object *o = json_object_new_object();

		json_object_object_add(o, "ok", json_object_new_boolean(ret == CLI_OK));
		json_object_object_add(o, "problems", m.problems);
		printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
		json_object_put(o);
	} else {
		json_object_put(m.problems);
		if (ret == CLI_OK)
			printf("nothing is in the way\n");
	}
	return ret;
}

/* Nobody will ask for the memory of these images any more. */
static void abandon(const char *dir)
{
	int dirfd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	struct mitosis *ctl = cli_open();

	if (ctl && dirfd >= 0)
		mitosis_dump_abandon(ctl, dirfd, 0);
	if (ctl)
		mitosis_close(ctl);
	if (dirfd >= 0)
		close(dirfd);
}

/*
 * criu calls this at its steps. Only after the dump it matters: the answer decides between killing
 * the tasks and letting them go on. When the migrating command is dead the journal knows how far it
 * had come.
 */
int cmd_action(int argc, char **argv)
{
	const char *step = getenv("CRTOOLS_SCRIPT_ACTION"), *path = getenv("MITOSIS_ACTION_SOCKET");
	const char *id = getenv("MITOSIS_ACTION_ID");
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	json_object *journal;
	bool committed = false;
	char verdict = 0;
	int fd, lock, ret = 1;

	if (!step || strcmp(step, "post-dump"))
		return 0;
	if (!path || !id)
		return 1;
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && !connect(fd, (void *)&un, sizeof(un)))
		while (read(fd, &verdict, 1) == 1) {
			if (verdict != ACTION_COMMITTED)
				return verdict == '0' ? 0 : 1;
			committed = true;
		}
	/* resolve may want to decide the same */
	lock = journal_lock(id);
	if (lock < 0)
		return 1;
	journal = journal_load(id);
	if (!journal && (committed || errno != ENOENT)) {
		ret = 1;
	} else if (!strcmp(journal_state(journal), "running")) {
		ret = 0;
	} else if (strcmp(journal_state(journal), "committed")) {
		if (journal)
			fence_undo(journal);
		abandon(getenv("CRTOOLS_IMAGE_DIR"));
		journal_remove(id);
	}
	json_object_put(journal);
	journal_unlock(lock);
	return ret;
}
