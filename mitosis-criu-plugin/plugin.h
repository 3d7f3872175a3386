/* SPDX-License-Identifier: MIT */
/*
 * mitosis_plugin.so: what its parts share. Everything runs in criu's own process and thread.
 *
 * Hooks return 0 or a negative errno after they have told the user why in one sentence.
 */
#ifndef MITOSIS_PLUGIN_H
#define MITOSIS_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <criu-plugin.h>

#include "images/mitosis_image.h"
#include "lib/mitosis.h"

#define PLUGIN_NAME	"mitosis"

/*
 * Exported by criu, which is linked with -rdynamic; no installed header declares them. Weak, so
 * that what a criu does not have is found out before it is called. add_inventory_plugin() came with
 * 4.1.
 */
struct parasite_ctl;
extern struct parasite_ctl *compel_prepare(int pid) __attribute__((weak));
extern int compel_syscall(struct parasite_ctl *ctl, int nr, long *ret, unsigned long arg1,
			  unsigned long arg2, unsigned long arg3, unsigned long arg4,
			  unsigned long arg5, unsigned long arg6) __attribute__((weak));
extern int add_script(char *path) __attribute__((weak));
extern int add_inventory_plugin(const char *name) __attribute__((weak));
extern bool check_and_remove_inventory_plugin(const char *name, size_t n) __attribute__((weak));
/*
 * As criu's RPC service calls it: CRIU_PARSING_ARGV reads no file but the one that rpc_cfg_file
 * names.
 */
#define CRIU_PARSING_ARGV	5
extern char *rpc_cfg_file __attribute__((weak));
extern int parse_options(int argc, char **argv, bool *usage_error, bool *has_exec_cmd, int state)
	__attribute__((weak));
extern int log_get_fd(void) __attribute__((weak));
extern void print_on_level(unsigned int level, const char *fmt, ...) __attribute__((weak));

/* To the user, and to criu's log where that is another file. */
__attribute__((format(printf, 1, 2)))
void plugin_say(const char *fmt, ...);

/* A setting of the environment, or NULL when it is absent or empty. */
const char *plugin_setting(const char *name);
int plugin_setting_u32(const char *name, uint32_t *value);
/*
 * Calls @fn for each thread of a process until it does not return 0, which is returned. -errno:
 * they cannot be listed.
 */
int plugin_each_thread(pid_t pid, int (*fn)(pid_t tid, void *arg), void *arg);

int dump_init(void);
void dump_fini(int ret);
int dump_pause(pid_t pid);
int dump_checkpoint(pid_t pid);

/* Holds a copy-on-write picture of the memory of a stopped task. */
int snapshot_take(struct mitosis *ctl, uint64_t snapshot, uint32_t mm, pid_t pid);

int restore_init(void);
void restore_fini(int ret);
int restore_resume(pid_t pid);

#endif /* MITOSIS_PLUGIN_H */
