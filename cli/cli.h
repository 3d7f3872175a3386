/* SPDX-License-Identifier: MIT */
#ifndef MITOSIS_CLI_H
#define MITOSIS_CLI_H

#include <json-c/json.h>
#include <signal.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "lib/mitosis.h"

/* Exit codes; documented in mitosis-cli(1). */
enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1,		/* a migration: the process runs on where it was, or has moved */
	CLI_USAGE = 2,
	CLI_REFUSED = 3,	/* a check found what would fail; nothing was touched */
	CLI_DOUBT = 4,		/* frozen on both sides: mitosis-cli resolve */
};

#define CLI_CRIU_MIN	40101		/* 4.1.1 */
#define CLI_PLUGIN_DIR	"/usr/lib/mitosis/criu"
#define CLI_RUN_DIR	"/run/mitosis"
#define CLI_STATE_DIR	"/var/lib/mitosis"
#define CLI_CGROUP	"/sys/fs/cgroup"
/*
 * {"fds": [what CRIU calls standard input, output and error where they are pipes or terminals, or
 * ""], "shell_job": bool}
 */
#define CLI_STDIO_IMAGE	"mitosis-stdio.img"
#define CLI_PREPARED_DIR CLI_RUN_DIR "/prepared"
/*
 * In a child's mount namespace, and empty elsewhere, files of one line each: "index" (0 to the
 * number of children less one, over all hosts of one resume), "id" (128 random bits, hexadecimal),
 * "snapshot", "node" (the host's name).
 */
#define CLI_CHILD_DIR	"/run/mitosis-child"
#define CLI_TEST_STEP	"/run/mitosis-test-step"
#define CLI_TEST_AT	"/tmp/mitosis-test-at"
#define CLI_TEST_GO	"/tmp/mitosis-test-go"
#define CLI_PROTOCOL	2
#define CLI_CRIU_ARGS	128	/* options of criu, the final NULL included */

struct cli_command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *args, *help;
};

int cmd_list(int argc, char **argv);
int cmd_show(int argc, char **argv);
int cmd_release(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_dump(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_migrate(int argc, char **argv);
int cmd_receive(int argc, char **argv);
int cmd_resolve(int argc, char **argv);
int cmd_action(int argc, char **argv);
int cmd_prepare(int argc, char **argv);
int cmd_extend(int argc, char **argv);
int cmd_resume(int argc, char **argv);
int cmd_record(int argc, char **argv);
/*
 * A descriptor may stand before the options, too: takes it out of the arguments; NULL: there is
 * none.
 */
char *cli_first_word(int *argc, char ***argv);
bool cli_name_is_good(const char *name);	/* of a snapshot: a part of a path */

/* util.c */
/* one sentence on stderr */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
json_object *cli_sentence(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));
struct mitosis *cli_open(void);		/* says why when NULL */
const char *cli_plugin_dir(void);
bool cli_parse_id(const char *text, uint64_t *id);
json_object *cli_json_id(uint64_t id);	/* as a string */
char *cli_read_file(const char *path);	/* NUL-terminated, the caller's; NULL with errno */
int cli_write_file(const char *path, const char *text);
/*
 * The beginnings of criu's command lines, into argv, which has CLI_CRIU_ARGS places; returns how
 * many were taken. What is pointed to is the caller's. cli_criu_options() adds the user's own and
 * the final NULL.
 */
int cli_criu_dump(char **argv, char *pid, char *dir);
int cli_criu_restore(char **argv, char *dir, char *log);
void cli_criu_options(char **argv, int n, char **options, int noptions);
/* its first, the caller's; NULL: it says none */
char *cli_criu_error(const char *dir, const char *log);
void cli_say_criu_errors(const char *dir, const char *log);	/* its errors, on stderr */
bool cli_is_image(const char *name);
uint64_t cli_images_size(int dirfd);	/* bytes */
uint64_t cli_now_ms(void);
int cli_mkdir_p(const char *path, mode_t mode);
int cli_remove_dir(const char *path);
/*
 * Makes the directory for a migration's images, which hold the key of its memory, and puts its path
 * into dir: below CLI_RUN_DIR, or, when they are large, CLI_STATE_DIR. It is the maker's, and of
 * the programs it starts, as long as one of them has the descriptor that is returned; -1 with
 * errno.
 */
int cli_work_dir(const char *where, const char *id, char *dir, size_t len);
void cli_sweep_work_dirs(void);		/* removes those that are nobody's */
bool cli_is_migration(const char *id);	/* 16 hexadecimal digits, not all 0 */
/* All processes of the tree below pid, itself first; the caller's. */
pid_t *cli_tree(pid_t pid, size_t *n);
/* {KEY: pid, KEY_start: what tells it from others that get that pid}, and whether it lives. */
void cli_process_add(json_object *o, const char *key, pid_t pid);
bool cli_process_lives(json_object *o, const char *key);
/* Directory of the process's cgroup v2, or -1. */
int cli_cgroup_of(pid_t pid, char *buf, size_t len);
/*
 * A number of a cgroup's, be it all of a file or behind a word in it; UINT64_MAX: there is none, or
 * it is "max".
 */
uint64_t cli_cgroup_number(const char *cgroup, const char *file, const char *word);
void cli_unblock_signals(void);
int cli_spawn(char *const argv[], int in, int out, pid_t *pid);
/*
 * Where tests cut: NAME:ACTION in MITOSIS_TEST_STEP or, as ssh hands no environment on, in the file
 * CLI_TEST_STEP. "kill" and "pause" are done here; another action is the caller's, NULL when there
 * is none for this step.
 */
const char *cli_test_step(const char *name);

/*
 * prometheus.c: stats has __MITOSIS_STAT_MAX elements, latency MITOSIS_LATENCY_MAX, users is
 * {"UID": pages}; 0, or a libmitosis error.
 */
int prometheus_print(struct mitosis *ctl, const uint64_t *stats, const uint64_t *latency,
		     json_object *users);

/* probe.c */
#define PROBES	4
struct probe {
	struct mitosis *ctl;
	uint64_t snapshots[PROBES];
	unsigned int n;
};
/*
 * Offers a snapshot without memory over each of these transports, until probe_end(): [{"transport",
 * "descriptor"}] for the destination. addr: NULL, or where.
 */
json_object *probe_offer(struct probe *p, const char *transports, const char *addr);
void probe_end(struct probe *p);
/*
 * Of the transports in @usable those stay over which the source is reached; of others unreached
 * gets {NAME: why}.
 */
void probe_try(json_object *probes, char *usable, json_object *unreached);

/* journal.c: what a side of a migration has promised; on disk when a call returns. */
/* NULL, and errno: ENOENT when there is none. */
json_object *journal_load(const char *id);
int journal_save(const char *id, json_object *journal);
void journal_remove(const char *id);
int journal_for_each(int (*fn)(const char *id, json_object *journal, void *arg), void *arg);
const char *journal_state(json_object *journal);
/*
 * Writes this process into a journal, as who goes on with that migration, and looks whether it
 * lives.
 */
void journal_own(json_object *journal);
bool journal_owner_lives(json_object *journal);
/*
 * Who decides what becomes of a migration holds its lock from reading the journal to having done
 * what was decided. A descriptor, for journal_unlock(), or -1 with a sentence said.
 */
int journal_lock(const char *id);
void journal_unlock(int fd);

/* fence.c: a frozen cgroup v2 that holds a tree whatever becomes of its makers. */
int fence_make(const char *dir);
int fence_move(const char *dir, pid_t pid);
int fence_freeze(const char *dir, bool frozen);		/* waits until it is so */
bool fence_is_frozen(const char *dir);			/* was told to be; waits until it is */
bool fence_is_populated(const char *dir);
bool fence_stands_still(const char *dir);		/* frozen, be it by a cgroup above it */
int fence_kill(const char *dir);			/* waits until it is empty */
int fence_remove(const char *dir);
bool fence_exists(const char *dir);
/*
 * Thaws what a source's journal has fenced and puts it back to where it was; a sentence when it
 * fails.
 */
int fence_undo(json_object *journal);

/* check.c: each problem is {"what": sentence, "remedy": sentence}; json arrays. */
/*
 * transports: what may be used, NULL: the module's setting; usable, MITOSIS_TRANSPORTS_LEN bytes,
 * gets those of them that can be.
 */
void check_machine(json_object *problems, const char *addr, const char *transports, char *usable);
void problem(json_object *problems, const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* "dct", "rc", "tcp" or several, "dct,rc"; says what is wrong. */
bool cli_transports_are_good(const char *transports);
/* At the end of a list that has room for all there are. */
void cli_transports_add(char *transports, const char *transport);
/*
 * Memory may go unencrypted over tcp: --insecure, which criu's plugin is told by MITOSIS_INSECURE.
 */
void cli_set_insecure(bool insecure);
bool cli_insecure(void);
/* Whether it is 1 or not there; or says what is wrong. */
bool cli_insecure_is_clear(void);
/* What is for mitosis-cli to decide is not for the plugin's file, which is for criu by itself. */
void cli_own_settings(void);
/* Of a machine that could not be reached over any transport: {NAME: why}. */
void check_reach(json_object *problems, json_object *unreached);
json_object *check_describe(pid_t pid, bool tcp, json_object *problems);
void check_arrival(json_object *described, json_object *problems);
/* Whether there is room for so much memory of @what. */
void check_memory(const char *what, uint64_t kb, json_object *problems);
/*
 * Says them, and adds them to all (may be NULL) with "side". CLI_OK, or CLI_REFUSED when there is
 * one.
 */
int check_report(json_object *problems, const char *side, json_object *all);

/*
 * container.c. Described: {"name", "id", "pid", "image", "image_name", "runtime", "volumes":
 * [name], "volume_kinds": {name: driver and options}, "binds": [path], "shared_volumes",
 * "networks": [name], "moving": [address that moves with it], "staying": [address that does not],
 * "ports": ["6379/tcp", of the machine], "bytes": of volumes, changes to the image and shared
 * memory, which travel, "memory_kb": all of its memory, "dir": where podman keeps what is its own}.
 */
#define CONTAINER_ARCHIVE "container.tar"
/* NULL: there is none */
json_object *container_describe(const char *name, bool shared_volumes, json_object *problems);
void container_arrival(json_object *described, json_object *problems);
/* has an id of podman's: what the other side says is no word of podman's, and no option */
bool container_is_good(json_object *described);
/* Who holds it is the only one here that moves the container: as journal_lock(). */
int container_lock(json_object *described);
int container_runs(json_object *described);	/* 1, 0, or -1: podman does not say */
/* there are processes of it, whatever podman says */
bool container_lives(json_object *described);
/*
 * Puts a criu into @dir, for the calls below, that has these settings (NAME=VALUE, ended by NULL);
 * -errno.
 */
int container_criu(const char *dir, const char *const settings[]);
/* Into and from @dir/CONTAINER_ARCHIVE: podman's process, the caller's, or -1. */
pid_t container_checkpoint(json_object *described, const char *dir);
pid_t container_import(json_object *described, const char *dir);
/* podman's status, when nothing that it has started is at work any more */
int container_checkpointed(pid_t podman);
/* a descriptor of the directory of the last checkpoint's, or -1 */
int container_images(json_object *described);
/*
 * From the last checkpoint, when the process that was to be moved does not go on; -1, and a
 * sentence, when neither is so. A container that was started anew is not that: @snapshot, which may
 * be "", is then named as what has its memory.
 */
int container_restore_here(json_object *described, const char *snapshot);
/*
 * With what runs of it, and with volumes that came with it; -1, and a sentence, when something may
 * be left. Never another one of that name.
 */
int container_remove(json_object *described, bool with_volumes);
/*
 * It runs on @host: takes away what is here, and says where its clients find it. As
 * container_remove().
 */
int container_leave(json_object *described, const char *host);
/* Whether this program was called as the criu of container_criu(), and what it is then. */
bool cli_is_criu(const char *argv0);
int cmd_criu(int argc, char **argv);

/* Whether a file of the process is opened by that path. */
bool cli_has_open(pid_t pid, const char *path);

/* Removes descriptors under CLI_PREPARED_DIR whose snapshot is not held any more. */
void cli_sweep_prepared(struct mitosis *ctl);

/*
 * fork.c: where the descriptor of that name, or path with a slash, is; a sentence when there is
 * none. And the snapshot that it is of, or 0.
 */
int cli_descriptor_dir(const char *what, char dir[PATH_MAX]);
uint64_t cli_descriptor_snapshot(const char *dir);

/* record.c: what children here have touched, as text for the caller; NULL and a sentence. */
char *record_here(uint64_t snapshot, uint64_t *npages, char *err, size_t errlen);
/* Whether a child here has a record to replay: beside the images in @dir, or in the module. */
int record_check(const char *dir, uint64_t snapshot, char *err, size_t errlen);

/* child.c */
#define CLI_CHILDREN_MAX 4096	/* of one resume on one host */
struct child_opts {
	const char *dir;	/* with the images */
	uint64_t snapshot;
	unsigned int give_up;
	bool eager, netns, no_cache, record;
	const char *prefetch;	/* as mitosis_prefetch_parse() takes it; NULL: the default */
	/* a shell command, run in the child's namespaces before criu; or NULL */
	const char *hook;
	char **criu_args;
	int ncriu_args;
	/*
	 * when something comes from there, or its end, nobody waits for children any more; 0: there
	 * is none
	 */
	int session;
};
/*
 * {"child": INDEX, "pid", "inner_pid", "init", "ms", "phases": see mitosis-cli(1)} or {"child":
 * INDEX, "failed": sentence}; takes the reference. What has been reported lives on its own; not 0:
 * it could not be.
 */
typedef int (*child_report)(json_object *child, void *arg);
/*
 * The one child of a keeper, with its standard files; returns the child's exit status. runs() is
 * called when criu has done its work, or has failed.
 */
int child_run(const struct child_opts *o, void (*runs)(void *arg), void *arg);
/*
 * Starts @n children, as many at a time as there are processors, and returns when all run or have
 * failed. -EPIPE: the session is over. Children that have not been reported do not live on,
 * whatever this returns.
 */
int child_start_all(const struct child_opts *o, unsigned int first, unsigned int n,
		    child_report report, void *arg);

/* stdio.c: for the first process of a child's namespace, in this order, with dir of the images. */
int stdio_begin(const char *dir);		/* -errno */
int stdio_criu_args(char **argv, int n);	/* for criu's process; the number of options then */
void stdio_restored(void);
/* until a signal of those that are not in the mask, or anything, comes */
void stdio_wait(const sigset_t *mask);
void stdio_end(void);

/* wire.c: one JSON object a line, and files, between migrate and receive. */
#define WIRE_STALL_S	60	/* so long may the other side not read or write */
#define WIRE_DUMP_S	600	/* so long may the first image take, which waits for criu's dump */
#define WIRE_TIMEOUT_MAX_S 3600	/* the most that --timeout can be */

struct wire {
	int in, out;		/* out: not blocking, see wire_init() */
	/* of the write that failed: what is behind half a line would be taken for its rest */
	int error;
	/* cli_now_ms(), when all must have been written; 0: WIRE_STALL_S is the only bound */
	uint64_t send_by;
	/*
	 * what is under way ends with ECANCELED when something can be read from it; -1: nothing
	 * does that
	 */
	int stop;
	char *buf;
	size_t len, size;
};
void wire_init(struct wire *w, int in, int out);
void wire_end(struct wire *w);			/* closes both */
int wire_send(struct wire *w, json_object *obj);	/* takes the reference */
int wire_send_key(struct wire *w, const char *key);	/* {KEY: true} */
int wire_send_error(struct wire *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Something has come, or the end of it. */
bool wire_has_input(const struct wire *w);
/* Whether wire_recv() need not wait any more: for a line, or for what it fails with. */
bool wire_wait(struct wire *w, int timeout_ms);
/* NULL: end of input, or errno ETIMEDOUT or ECANCELED. */
json_object *wire_recv(struct wire *w, int timeout_ms);
void wire_new_id(char id[17]);	/* random; of a session, or of a migration */
/* The first line to a receiver, for the caller to add to. */
json_object *wire_hello(const char *id);
/* A sentence when ssh would take the host for an option. */
bool wire_host_is_good(const char *host);
/* Starts "mitosis-cli receive" on a host, over ssh (NULL: ssh with our options). */
int wire_remote(struct wire *w, const char *ssh, const char *host, pid_t *pid);
/* Hangs up, and waits for ssh to end, but not long: the other side may hang. */
void wire_remote_end(struct wire *w, pid_t pid);
int wire_send_file(struct wire *w, int dirfd, const char *name, uint64_t *bytes);
/* Receives images into @dir, until "end"; tells the other side what is wrong. */
int cli_receive_images(struct wire *w, const char *dir);
int wire_recv_file(struct wire *w, json_object *head, int dirfd);
/*
 * All images in @dir and the end of them; a sentence when it fails. step, which may be NULL, is
 * called after each.
 */
int wire_send_images(struct wire *w, const char *dir, const char *host, uint64_t *bytes,
		     void (*step)(void *arg), void *arg);

/* precopy.c */
#define PRECOPY_MAX	MITOSIS_MAX_PARENTS	/* rounds */
#define PRECOPY_AUTO	(PRECOPY_MAX + 1)	/* as many as it takes, or none */
#define PRECOPY_BASES_LEN (17 * PRECOPY_MAX + 1)
struct precopy {
	pid_t pid;
	int rounds;			/* 0: none */
	const char *addr, *transports;	/* as for the dump */
	char **criu_args;
	int ncriu_args;
	/* snapshots live as long as it, or the one that is based on them */
	struct mitosis *ctl;
	struct wire *wire;
	int patience;			/* seconds for a part of it */
	json_object *(*expect)(void *arg, const char *key, int timeout_s);
	void (*step)(void *arg);	/* after each round */
	void *arg;
	/* pages: the memory that must be left; and what is to be left for a round to be begun */
	uint64_t reserve, need;
	/* what has become of it */
	/*
	 * it is written to as fast as it is read; memory is short here; there; for one more round
	 */
	bool stale, tight, unkept, full;
	uint64_t snapshots[PRECOPY_MAX];	/* the latest last */
	unsigned int n;
	/* the process stood still for so long at most, for the last round and for all */
	uint64_t stop_ms, stopped_ms;
	uint64_t pages, ms;		/* that the destination has read, and in which time */
	uint64_t changed;		/* of the last round, written to by its end */
	char chosen[320];		/* a sentence; empty: nothing was to be chosen */
};
/* "auto", NULL or a number of rounds; -1: it is none of these. */
int precopy_parse(const char *text);
/* Whether there is to be any. */
bool precopy_wanted(struct precopy *p);
/* Then the dump may come. Not 0, a sentence said: it failed, and the process runs on. */
int precopy_run(struct precopy *p);
/* Lets go of the snapshots: nothing is left to them. */
void precopy_drop(struct precopy *p);
/* For MITOSIS_BASE. */
void precopy_bases(const struct precopy *p, char text[PRECOPY_BASES_LEN]);
/*
 * The destination's side; what it reads stays as long as @ctl, or processes that need it. -1: the
 * session is over.
 */
int precopy_receive(struct mitosis *ctl, struct wire *w, const char *dir, unsigned int give_up);

static inline const char *jstr(json_object *o, const char *key)
{
	json_object *v = json_object_object_get(o, key);

	return v && json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "";
}

static inline json_object *jget(json_object *o, const char *key)
{
	return json_object_object_get(o, key);
}

static inline bool jbool(json_object *o, const char *key)
{
	return json_object_get_boolean(json_object_object_get(o, key));
}

static inline int64_t jint(json_object *o, const char *key)
{
	return json_object_get_int64(json_object_object_get(o, key));
}

#endif
