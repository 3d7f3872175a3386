// SPDX-License-Identifier: MIT
/* Ends migrations that were cut off. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

static int list_one(const char *id, json_object *journal, void *arg)
{
	json_object *container = jget(journal, "container");
	const char *fence = jstr(journal, "fence");

	++*(int *)arg;
	printf("%s  %-11s  %-10s  peer %-16s  %s\n", id, jstr(journal, "role"),
	       journal_state(journal), *jstr(journal, "peer") ? jstr(journal, "peer") : "-",
	       container ? jstr(container, "name") :
			   fence_exists(fence) ? fence : "nothing left here");
	return 0;
}

/* Asks the destination; the answer's key, or NULL. What it says of an error is said here. */
static const char *ask(const char *ssh, const char *host, const char *id, json_object *journal,
		       const char *what, char *buf, size_t len)
{
	struct wire w;
	json_object *o;
	pid_t pid;

	*buf = 0;
	if (wire_remote(&w, ssh, host, &pid))
		return NULL;
	o = wire_hello(id);
	json_object_object_add(o, what, json_object_new_boolean(true));
	/* with its journal ended by hand nothing there knows of it otherwise */
	json_object_object_add(o, "container", json_object_get(jget(journal, "container")));
	wire_send(&w, o);
	o = wire_recv(&w, WIRE_STALL_S * 1000);
	if (o && *jstr(o, "error"))
		cli_say("%s: %s", host, jstr(o, "error"));
	if (o) {
		json_object_object_foreach(o, key, value) {
			(void)value;
			snprintf(buf, len, "%s", key);
		}
	}
	json_object_put(o);
	wire_remote_end(&w, pid);
	return *buf ? buf : NULL;
}

/*
 * Nothing is there to be done when the journal knows of no snapshot, or the module is not loaded
 * any more.
 */
static void on_snapshot(json_object *journal, int (*call)(struct mitosis *ctl, uint64_t snapshot))
{
	struct mitosis *ctl;
	uint64_t snapshot;

	if (!cli_parse_id(jstr(journal, "snapshot"), &snapshot))
		return;
	ctl = cli_open();
	if (ctl) {
		call(ctl, snapshot);
		mitosis_close(ctl);
	}
}

static int run_container_here(const char *id, json_object *journal)
{
	bool source = !strcmp(jstr(journal, "role"), "source");
	json_object *c = jget(journal, "container");
	const char *name = jstr(c, "name");

	/* what was offered unencrypted is read so; its memory is let go of when it has all of it */
	cli_set_insecure(jbool(journal, "insecure"));
	if (source ? container_restore_here(c, jstr(journal, "snapshot")) :
		     container_runs(c) <= 0) {
		cli_say("container %s does not run here: see the message above, and --here kill takes away what else is left",
			name);
		return CLI_FAILED;
	}
	if (!source)
		on_snapshot(journal, mitosis_link_drain);
	journal_remove(id);
	printf("%s: container %s runs here\n", id, name);
	return CLI_OK;
}

static int run_here(const char *id, json_object *journal)
{
	bool source = !strcmp(jstr(journal, "role"), "source");
	const char *fence = jstr(journal, "fence");

	if (jget(journal, "container"))
		return run_container_here(id, journal);
	if (source) {
		fence_undo(journal);
	} else if (fence_is_populated(fence)) {
		on_snapshot(journal, mitosis_link_drain);
		fence_freeze(fence, false);
	} else {
		cli_say("no process of %s is left here: --here kill takes away what else is", id);
		return CLI_FAILED;
	}
	/* a journal is all that tells of processes that stand still */
	if (fence_stands_still(fence)) {
		cli_say("cgroup %s cannot be thawed: write 0 to its cgroup.freeze, then resolve again",
			fence);
		return CLI_FAILED;
	}
	if (source)
		on_snapshot(journal, mitosis_release);
	journal_remove(id);
	printf("%s: the process runs here\n", id);
	return CLI_OK;
}

static int kill_here(const char *id, json_object *journal)
{
	if (fence_kill(jstr(journal, "fence")))
		return CLI_FAILED;
	fence_remove(jstr(journal, "fence"));
	if (jget(journal, "container") && container_remove(jget(journal, "container"), false))
		return CLI_FAILED;
	journal_remove(id);
	printf("%s: the process is killed here\n", id);
	return CLI_OK;
}

/* The copy here is of before the migration; the destination may forget what it promised. */
static int kill_here_and_tell(const char *id, json_object *journal, const char *ssh,
			      const char *host)
{
	json_object *c = jget(journal, "container");
	char buf[64];
	int ret;

	/* the migration has left none that runs */
	if (c && container_runs(c) > 0) {
		cli_say("container %s runs on %s since migration %s, and here, too, since somebody has started it or moved it back: --here kill ends it here, --here run --force keeps it here",
			jstr(c, "name"), host, id);
		return CLI_FAILED;
	}
	ret = kill_here(id, journal);
	if (ret == CLI_OK && !ask(ssh, host, id, journal, "finished", buf, sizeof(buf)))
		cli_say("%s does not answer: its own mitosis-cli resolve still lists the migration, end it there with resolve %s --here run",
			host, id);
	return ret;
}

/* Not known here: it was or may have been promised that it runs there. */
static int ask_and_resolve(const char *id, json_object *journal, const char *ssh, const char *host)
{
	const char *answer;
	char buf[64];

	answer = ask(ssh, host, id, journal, "status", buf, sizeof(buf));
	/* not running now must become: will never run */
	if (answer && !strcmp(answer, "does-not-run"))
		answer = ask(ssh, host, id, journal, "forget", buf, sizeof(buf));
	if (answer && !strcmp(answer, "runs"))
		return kill_here_and_tell(id, journal, ssh, host);
	if (answer && !strcmp(answer, "forgotten"))
		return run_here(id, journal);
	if (answer && !strcmp(answer, "ended"))
		cli_say("it did run on %s and has ended there, or that machine was started anew; what is frozen here (cgroup %s) is of before: resolve %s --here kill ends it, --here run --force makes it run on from then",
			host, jstr(journal, "fence"), id);
	else
		cli_say("%s does not say what has become of it: make it reachable, or, when you know that it does not run there, use --here run --force",
			host);
	return CLI_FAILED;
}

static int resolve(const char *id, const char *here, const char *to, const char *ssh, bool force)
{
	json_object *journal = journal_load(id);
	int ret = CLI_FAILED;

	if (!journal && errno != ENOENT) {
		cli_say(CLI_STATE_DIR
			"/%s.json cannot be read: it may run on the other machine; see there, then remove the file",
			id);
		return ret;
	}
	if (!journal) {
		cli_say("there is no unfinished migration %s here: mitosis-cli resolve lists them",
			id);
		return ret;
	}
	if (!to)
		to = jstr(journal, "peer");
	if (journal_owner_lives(journal)) {
		cli_say("migration %s is under way (process %d): wait for its end", id,
			(int)jint(journal, "owner"));
	} else if (cli_process_lives(journal, "podman") && (!here || strcmp(here, "kill"))) {
		cli_say("podman is still at work for migration %s (process %d): wait for its end",
			id, (int)jint(journal, "podman"));
	} else if (here && !strcmp(here, "run") && !force &&
		   strcmp(journal_state(journal), "fenced") &&
		   strcmp(jstr(journal, "role"), "destination")) {
		cli_say("it may run on the other machine: use --to, or, when you know that it does not run there and never will, add --force");
	} else if (here && !strcmp(here, "run") && !force &&
		   !strcmp(journal_state(journal), "restoring")) {
		cli_say("it may run at its source: resolve it there, or, when you know that it does not run there and never will, add --force");
	} else if (here && !strcmp(here, "run")) {
		ret = run_here(id, journal);
	} else if (here && !strcmp(here, "kill")) {
		ret = kill_here(id, journal);
	} else if (here) {
		cli_say("--here is run or kill, not %s", here);
		ret = CLI_USAGE;
	} else if (strcmp(jstr(journal, "role"), "source")) {
		cli_say("run mitosis-cli resolve %s --to THIS-HOST at the source, or, if that is gone for good, here with --here run or --here kill",
			id);
	} else if (!strcmp(journal_state(journal), "fenced")) {
		/* COMMIT is written down before it is sent: it was not sent */
		ret = run_here(id, journal);
	} else if (!strcmp(journal_state(journal), "running")) {
		ret = kill_here_and_tell(id, journal, ssh, to);
	} else {
		ret = ask_and_resolve(id, journal, ssh, to);
	}
	json_object_put(journal);
	return ret;
}

int cmd_resolve(int argc, char **argv)
{
	static const struct option options[] = {
		{ "to", 1, NULL, 't' }, { "here", 1, NULL, 'h' }, { "ssh", 1, NULL, 's' },
		{ "force", 0, NULL, 'f' }, {}
	};
	const char *to = NULL, *here = NULL, *ssh = NULL, *id;
	int c, n = 0, lock, ret;
	bool force = false;

	signal(SIGPIPE, SIG_IGN);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 't')
			to = optarg;
		else if (c == 'h')
			here = optarg;
		else if (c == 's')
			ssh = optarg;
		else if (c == 'f')
			force = true;
		else
			return CLI_USAGE;
	}
	if (to && !wire_host_is_good(to))
		return CLI_USAGE;
	if (optind == argc) {
		journal_for_each(list_one, &n);
		if (!n)
			printf("nothing to resolve\n");
		return CLI_OK;
	}
	id = argv[optind];
	if (optind + 1 != argc || !cli_is_migration(id)) {
		cli_say("resolve needs one id, 16 hexadecimal digits: mitosis-cli resolve lists them");
		return CLI_USAGE;
	}
	/* criu's action script decides, too, when the migrating command has died */
	lock = journal_lock(id);
	if (lock < 0)
		return CLI_FAILED;
	ret = resolve(id, here, to, ssh, force);
	journal_unlock(lock);
	return ret;
}
