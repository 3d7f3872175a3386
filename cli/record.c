// SPDX-License-Identifier: MIT
/*
 * record: which pages children of a snapshot have touched, for those that are to have them sooner.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "images/mitosis_image.h"
#include "images/record.h"

#define RECORD_NONE \
	"no child of snapshot %016lx that notes what it touches runs on this machine: mitosis-cli resume --record starts one"

static int record_collect(uint32_t mm, const struct mitosis_run *runs, size_t nruns, void *arg)
{
	return record_add(arg, mm, runs, nruns);
}

/* -ENOENT: nothing is noted. */
static int record_get(uint64_t snapshot, struct record *r, char *err, size_t errlen)
{
	struct mitosis *ctl = mitosis_open(err, errlen);
	int ret;

	memset(r, 0, sizeof(*r));
	if (!ctl)
		return -errno;
	r->snapshot = snapshot;
	ret = mitosis_record_get(ctl, snapshot, record_collect, r);
	if (!ret && !r->nruns)
		ret = -ENOENT;
	if (ret == -ENOENT)
		snprintf(err, errlen, RECORD_NONE, (unsigned long)snapshot);
	else if (ret)
		snprintf(err, errlen, "%s", mitosis_error(ctl));
	mitosis_close(ctl);
	if (ret)
		record_free(r);
	return ret;
}

char *record_here(uint64_t snapshot, uint64_t *npages, char *err, size_t errlen)
{
	struct record r;
	char *text;

	if (record_get(snapshot, &r, err, errlen))
		return NULL;
	*npages = r.npages;
	text = record_format(&r);
	if (!text)
		snprintf(err, errlen, "no memory");
	record_free(&r);
	return text;
}

int record_check(const char *dir, uint64_t snapshot, char *err, size_t errlen)
{
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;
	struct record r;

	ret = record_read(dirfd, snapshot, &r, err, errlen);
	if (dirfd >= 0)
		close(dirfd);
	if (ret == -ENOENT) {
		ret = record_get(snapshot, &r, err, errlen);
		if (ret == -ENOENT)
			snprintf(err, errlen,
				 "there is no record of what children of %016lx touch: mitosis-cli resume --record starts one that is noted, mitosis-cli record keeps it",
				 (unsigned long)snapshot);
	}
	if (!ret)
		record_free(&r);
	return ret;
}

/* The text of another machine, checked. */
static char *record_there(const char *ssh, const char *host, uint64_t snapshot, uint64_t *npages)
{
	char id[17], number[17], err[MITOSIS_ERROR_LEN], *text = NULL;
	json_object *hello, *o;
	struct record r;
	struct wire w;
	pid_t ssh_pid;

	wire_new_id(id);
	hello = wire_hello(id);
	snprintf(number, sizeof(number), "%016lx", (unsigned long)snapshot);
	json_object_object_add(hello, "record", json_object_new_string(number));
	if (wire_remote(&w, ssh, host, &ssh_pid)) {
		json_object_put(hello);
		return NULL;
	}
	wire_send(&w, hello);
	o = wire_recv(&w, WIRE_STALL_S * 1000);
	wire_remote_end(&w, ssh_pid);
	if (!o || !*jstr(o, "record")) {
		cli_say("%s: %s", host,
			o && *jstr(o, "error") ?
				jstr(o, "error") :
				"mitosis-cli there does not answer: is ssh allowed without a password, and mitosis installed?");
	} else if (record_parse(jstr(o, "record"), &r, err, sizeof(err))) {
		cli_say("%s: %s", host, err);
	} else {
		text = strdup(jstr(o, "record"));
		*npages = r.npages;
		record_free(&r);
	}
	json_object_put(o);
	return text;
}

int cmd_record(int argc, char **argv)
{
	static const struct option options[] = {
		{ "on", 1, NULL, 'o' }, { "ssh", 1, NULL, 's' }, {}
	};
	const char *host = NULL, *ssh = NULL, *what = NULL;
	char dir[PATH_MAX], err[MITOSIS_ERROR_LEN], *text;
	uint64_t snapshot, npages;
	int c, dirfd, ret;

	signal(SIGPIPE, SIG_IGN);
	what = cli_first_word(&argc, &argv);
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'o' && wire_host_is_good(optarg))
			host = optarg;
		else if (c == 's')
			ssh = optarg;
		else
			return CLI_USAGE;
	}
	if (!what && optind < argc)
		what = argv[optind++];
	if (!what || optind != argc) {
		cli_say("record needs a descriptor: see mitosis-cli record --help");
		return CLI_USAGE;
	}
	if (cli_descriptor_dir(what, dir))
		return CLI_FAILED;
	snapshot = cli_descriptor_snapshot(dir);
	if (!snapshot) {
		cli_say("%s is no descriptor: mitosis-cli prepare makes one", dir);
		return CLI_FAILED;
	}
	text = host ? record_there(ssh, host, snapshot, &npages) :
		      record_here(snapshot, &npages, err, sizeof(err));
	if (!text) {
		if (!host)
			cli_say("%s", err);
		return CLI_FAILED;
	}
	dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ret = mitosis_file_write(dirfd, RECORD_NAME, text, strlen(text), false, err, sizeof(err));
	close(dirfd);
	free(text);
	if (ret) {
		cli_say("%s", err);
		return CLI_FAILED;
	}
	printf("%lu pages are noted in %s/" RECORD_NAME "\n", (unsigned long)npages, dir);
	return CLI_OK;
}
