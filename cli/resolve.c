// SPDX-License-Identifier: MIT
/* Ends migrations that were cut off. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

static int list_one(const char *id, json_object *journal, void *arg)
{
	const char *fence = jstr(journal, "fence");

	++*(int *)arg;
	printf("%s  %-11s  %-10s  peer %-16s  %s\n", id, jstr(journal, "role"), journal_state(journal),
	       *jstr(journal, "peer") ? jstr(journal, "peer") : "-",
	       fence_exists(fence) ? fence : "nothing left here");
	return 0;
}

/* Asks the destination; the answer's key, or NULL. */
static const char *ask(const char *ssh, const char *host, const char *id, const char *what, char *buf,
		       size_t len)
{
	char command[512];
	int in[2], out[2];
	struct wire w;
	json_object *o;
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		return NULL;
	snprintf(command, sizeof(command), "exec %s \"$0\" mitosis-cli receive",
		 ssh ? ssh : "ssh -o BatchMode=yes -o ConnectTimeout=10");
	char *argv[] = { "sh", "-c", command, (char *)host, NULL };

	if (cli_spawn(argv, in[0], out[1], &pid))
		return NULL;
	close(in[0]);
	close(out[1]);
	w = (struct wire){ .in = out[0], .out = in[1] };
	o = json_object_new_object();
	json_object_object_add(o, "hello", json_object_new_int(CLI_PROTOCOL));
	json_object_object_add(o, "id", json_object_new_string(id));
	json_object_object_add(o, what, json_object_new_boolean(true));
	wire_send(&w, o);
	o = wire_recv(&w, 60000, -1);
	*buf = 0;
	if (o) {
		json_object_object_foreach(o, key, value) {
			(void)value;
			snprintf(buf, len, "%s", key);
		}
	}
	json_object_put(o);
	close(w.in);
	close(w.out);
	waitpid(pid, NULL, 0);
	free(w.buf);
	return *buf ? buf : NULL;
}

static void release_snapshot(json_object *journal)
{
	struct mitosis *ctl;
	uint64_t id;

	if (!cli_parse_id(jstr(journal, "snapshot"), &id))
		return;
	ctl = cli_open();
	if (ctl) {
		mitosis_release(ctl, id);
		mitosis_close(ctl);
	}
}

static int run_here(const char *id, json_object *journal)
{
	if (!strcmp(jstr(journal, "role"), "source")) {
		fence_undo(journal);
		release_snapshot(journal);
	} else if (fence_exists(jstr(journal, "fence"))) {
		struct mitosis *ctl = cli_open();
		uint64_t snapshot;

		if (ctl && cli_parse_id(jstr(journal, "snapshot"), &snapshot))
			mitosis_link_drain(ctl, snapshot);
		if (ctl)
			mitosis_close(ctl);
		fence_freeze(jstr(journal, "fence"), false);
	}
	journal_remove(id);
	printf("%s: the process runs here\n", id);
	return CLI_OK;
}

static int kill_here(const char *id, json_object *journal)
{
	if (fence_kill(jstr(journal, "fence")))
		return CLI_FAILED;
	fence_remove(jstr(journal, "fence"));
	journal_remove(id);
	printf("%s: the process is killed here\n", id);
	return CLI_OK;
}

static bool owner_lives(json_object *journal)
{
	struct mitosis_proc proc;

	return jint(journal, "owner") && !mitosis_proc_get(jint(journal, "owner"), &proc, NULL) &&
		proc.start_time == (uint64_t)jint(journal, "owner_start");
}

int cmd_resolve(int argc, char **argv)
{
	static const struct option options[] = { { "to", 1, NULL, 't' }, { "here", 1, NULL, 'h' },
						 { "ssh", 1, NULL, 's' }, { "force", 0, NULL, 'f' },
						 {} };
	bool force = false;
	const char *to = NULL, *here = NULL, *ssh = NULL, *id, *answer;
	json_object *journal;
	char buf[64];
	int c, n = 0, ret = CLI_FAILED;

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
	if (optind == argc) {
		journal_for_each(list_one, &n);
		if (!n)
			printf("nothing to resolve\n");
		return CLI_OK;
	}
	id = argv[optind];
	if (optind + 1 != argc || strlen(id) != 16 || strspn(id, "0123456789abcdef") != 16) {
		cli_say("resolve needs one id, 16 hexadecimal digits: mitosis-cli resolve lists them");
		return CLI_USAGE;
	}
	journal = journal_load(id);
	if (!journal) {
		cli_say("there is no unfinished migration %s here: mitosis-cli resolve lists them", id);
		return CLI_FAILED;
	}
	if (owner_lives(journal)) {
		cli_say("migration %s is under way (process %d): wait for its end", id,
			(int)jint(journal, "owner"));
	} else if (here && !strcmp(here, "run") && !force &&
		   strcmp(journal_state(journal), "fenced")) {
		cli_say("it may run on the other machine: use --to, or, when you know that it does not run there and never will, add --force");
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
		ret = kill_here(id, journal);
	} else {
		answer = ask(ssh, to ? to : jstr(journal, "peer"), id, "status", buf, sizeof(buf));
		/* not running now must become: will never run */
		if (answer && !strcmp(answer, "does-not-run"))
			answer = ask(ssh, to ? to : jstr(journal, "peer"), id, "forget", buf, sizeof(buf));
		if (answer && !strcmp(answer, "runs"))
			ret = kill_here(id, journal);
		else if (answer && !strcmp(answer, "forgotten"))
			ret = run_here(id, journal);
		else
			cli_say("%s does not say what has become of it: make it reachable, or, when you know that it does not run there, use --here run --force",
				to ? to : jstr(journal, "peer"));
	}
	json_object_put(journal);
	return ret;
}
