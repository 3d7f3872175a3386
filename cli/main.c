// SPDX-License-Identifier: MIT
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

static const struct cli_command commands[] = {
	{ "migrate", cmd_migrate,
	  "--pid PID | --container NAME --to HOST [--shared-volumes] [--precopy[=ROUNDS]] [--addr ADDR] [--transport LIST] [--insecure] [--no-wait] [--give-up SECONDS] [--timeout SECONDS] [--tcp-established] [--ssh COMMAND] [--json] [-- CRIU-OPTION...]",
	  "move a process and its children, or a container of podman, to HOST" },
	{ "prepare", cmd_prepare,
	  "--pid PID [--lease TIME] [--name NAME] [--pin] [--replace] [--dir DIR] [--addr ADDR] [--transport LIST] [--insecure] [--json] [-- CRIU-OPTION...]",
	  "a snapshot of a process that runs on, for resume" },
	{ "resume", cmd_resume,
	  "DESCRIPTOR [--from HOST] [-n N | --number N] [--on HOST]... [--foreground] [--eager] [--no-cache] [--prefetch POLICY] [--record] [--netns] [--hook COMMAND] [--transport LIST] [--insecure] [--give-up SECONDS] [--ssh COMMAND] [--json] [-- CRIU-OPTION...]",
	  "children of a snapshot, here or on HOSTs" },
	{ "record", cmd_record, "DESCRIPTOR [--on HOST] [--ssh COMMAND]",
	  "keep what children with resume --record have touched, for --prefetch recorded" },
	{ "extend", cmd_extend, "SNAPSHOT --lease TIME",
	  "a lease that begins anew; 0: until released" },
	{ "check", cmd_check,
	  "[--pid PID | --container NAME [--shared-volumes]] [--to HOST] [--addr ADDR] [--transport LIST] [--insecure] [--tcp-established] [--ssh COMMAND] [--json] | --transport NAME --loopback [--addr ADDR]",
	  "say what would fail, touch nothing" },
	{ "list", cmd_list, "[--json]",
	  "snapshots held here, links and processes that miss pages" },
	{ "show", cmd_show, "SNAPSHOT [--json]", "one of them" },
	{ "stats", cmd_stats, "[--json|--prometheus] [--watch SECONDS]", "the module's counters" },
	{ "release", cmd_release, "SNAPSHOT [--force] | --all", "let go of held memory" },
	{ "resolve", cmd_resolve, "[ID --to HOST [--ssh COMMAND] | ID --here run|kill [--force]]",
	  "end a migration that was cut off" },
	{ "dump", cmd_dump, "--pid PID --dir DIR [-- CRIU-OPTION...]",
	  "criu dump with memory left where it is" },
	{ "restore", cmd_restore, "--dir DIR [-- CRIU-OPTION...]", "criu restore of such a dump" },
	{ "receive", cmd_receive, "", "the other end of migrate; it starts this over ssh" },
};

#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(FILE *f)
{
	fprintf(f, "usage: mitosis-cli COMMAND [OPTION]...\n\n");
	for (size_t i = 0; i < NCOMMANDS; i++)
		fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].help);
	fprintf(f, "\nmitosis-cli COMMAND --help tells more; the manual is mitosis-cli(1).\n");
}

int main(int argc, char **argv)
{
	/*
	 * who starts us may have left these otherwise; children are waited for, and SIGTERM is
	 * heeded
	 */
	signal(SIGCHLD, SIG_DFL);
	cli_unblock_signals();
	if (argc > 0 && cli_is_criu(argv[0]))
		return cmd_criu(argc, argv);
	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help"))) {
		help(stdout);
		return CLI_OK;
	}
	if (argc > 1 && !strcmp(argv[1], "--version")) {
		printf("mitosis-cli %s\n", MITOSIS_VERSION);
		return CLI_OK;
	}
	/* an action script is a path without arguments */
	if (argc == 1 && getenv("CRTOOLS_SCRIPT_ACTION"))
		return cmd_action(argc, argv);
	for (size_t i = 0; argc > 1 && i < NCOMMANDS; i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		if (argc > 2 && !strcmp(argv[2], "--help")) {
			printf("usage: mitosis-cli %s %s\n\n%s\n", commands[i].name,
			       commands[i].args, commands[i].help);
			return CLI_OK;
		}
		if (!cli_insecure_is_clear())
			return CLI_USAGE;
		/* these two are criu with its settings, and nothing else */
		if (commands[i].run != cmd_dump && commands[i].run != cmd_restore)
			cli_own_settings();
		return commands[i].run(argc - 1, argv + 1);
	}
	if (argc > 1)
		fprintf(stderr, "mitosis-cli: no command %s: see mitosis-cli --help\n", argv[1]);
	else
		help(stderr);
	return CLI_USAGE;
}
