// SPDX-License-Identifier: MIT
/* dump and restore: criu with the right options, without a transaction. */
#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static int bare(int argc, char **argv, bool dump)
{
	static const struct option options[] = {
		{ "pid", 1, NULL, 'p' }, { "dir", 1, NULL, 'd' }, {}
	};
	const char *pid = NULL, *dir = NULL;
	char *args[CLI_CRIU_ARGS];
	int c, n = 0;

	while ((c = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (c == 'p')
			pid = optarg;
		else if (c == 'd')
			dir = optarg;
		else
			return CLI_USAGE;
	}
	if (!dir || (dump && !pid)) {
		cli_say("%s needs %s--dir: see mitosis-cli %s --help", argv[0],
			dump ? "--pid and " : "", argv[0]);
		return CLI_USAGE;
	}
	if (dump && cli_mkdir_p(dir, 0700)) {
		cli_say("directory %s cannot be made: %s", dir, strerror(errno));
		return CLI_FAILED;
	}
	args[n++] = "criu";
	args[n++] = dump ? "dump" : "restore";
	args[n++] = "-D";
	args[n++] = (char *)dir;
	args[n++] = "-L";
	args[n++] = (char *)cli_plugin_dir();
	if (dump) {
		args[n++] = "-t";
		args[n++] = (char *)pid;
	} else {
		args[n++] = "-d";
	}
	for (c = optind; c < argc && n < CLI_CRIU_ARGS - 1; c++)
		args[n++] = argv[c];
	args[n] = NULL;
	execvp(args[0], args);
	cli_say("criu cannot be started: %s", strerror(errno));
	return CLI_FAILED;
}

int cmd_dump(int argc, char **argv)
{
	return bare(argc, argv, true);
}

int cmd_restore(int argc, char **argv)
{
	return bare(argc, argv, false);
}
