// SPDX-License-Identifier: MIT
/*
 * A stopped task is made to clone itself: the kernel's copy-on-write then keeps its memory as it
 * is, whether the task runs on or is killed. The clone itself goes at once; the module keeps its
 * address space.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mitosis-criu-plugin/plugin.h"

/*
 * No exit signal and no CLEARTID or SETTID: nobody must see the clone's end, and it must write
 * nothing. Files and directories are shared rather than copied, as closing a copy may wait (FUSE,
 * NFS) for a task that stands still.
 */
#define SNAPSHOT_CLONE_FLAGS	(CLONE_PTRACE | CLONE_FILES | CLONE_FS)

#define RSEQ_CS	8	/* in struct rseq */

/*
 * compel puts its system call over the first bytes of the first executable mapping for as long as
 * it runs, and that is when the clone is made. In a mapping of a file that does not matter, as CRIU
 * dumps these pages from the task; a JIT's is anonymous.
 */
struct snapshot_code {
	uint64_t start;
	size_t len;
	uint8_t bytes[64];
};

static int snapshot_code_find(pid_t pid, struct snapshot_code *code)
{
	unsigned long start, end;
	char *line = NULL;
	char path[64], x;
	size_t room = 0;
	FILE *f;

	code->len = 0;
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (!code->len && getline(&line, &room, f) > 0) {
		if (sscanf(line, "%lx-%lx %*c%*c%c", &start, &end, &x) != 3 || x != 'x')
			continue;
		code->start = start;
		code->len = sizeof(code->bytes);
	}
	free(line);
	fclose(f);
	return code->len ? 0 : -ENOEXEC;
}

static int snapshot_mem_open(pid_t pid, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	return open(path, flags | O_CLOEXEC);
}

static int snapshot_code_read(pid_t pid, const struct snapshot_code *code, void *bytes)
{
	int fd = snapshot_mem_open(pid, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, bytes, code->len, (off_t)code->start);
	close(fd);
	return n == (ssize_t)code->len ? 0 : -EIO;
}

static int snapshot_code_repair(pid_t clone, const struct snapshot_code *code)
{
	uint8_t now[sizeof(code->bytes)];
	ssize_t n;
	int fd, ret;

	ret = snapshot_code_read(clone, code, now);
	if (ret || !memcmp(now, code->bytes, code->len))
		return ret;
	fd = snapshot_mem_open(clone, O_RDWR);
	if (fd < 0)
		return -errno;
	n = pwrite(fd, code->bytes, code->len, (off_t)code->start);
	close(fd);
	return n == (ssize_t)code->len ? 0 : -EIO;
}

/*
 * Code of the injected calls lies outside any critical section, so the kernel clears the task's
 * rseq_cs when it returns there. CRIU looks at it only later: it would not notice that it has
 * stopped a critical section, which has to be aborted, and the section would go on unprotected.
 */
struct snapshot_rseq {
	uint64_t where;
	long cs;
};

static void snapshot_rseq_read(pid_t pid, struct snapshot_rseq *rseq)
{
	struct __ptrace_rseq_configuration conf = {};

	*rseq = (struct snapshot_rseq){};
	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, pid, sizeof(conf), &conf) < 0 ||
	    !conf.rseq_abi_pointer)
		return;
	rseq->where = conf.rseq_abi_pointer + RSEQ_CS;
	errno = 0;
	rseq->cs = ptrace(PTRACE_PEEKDATA, pid, (void *)rseq->where, NULL);
	if (errno)
		rseq->cs = 0;
}

static int snapshot_rseq_write(pid_t pid, const struct snapshot_rseq *rseq)
{
	if (!rseq->cs || !ptrace(PTRACE_POKEDATA, pid, (void *)rseq->where, (void *)rseq->cs))
		return 0;
	plugin_say("process %d: its rseq can not be put back (%s): try again", pid,
		   strerror(errno));
	return -EIO;
}

/* The task in a pid namespace of its own knows its child by another number than we do. */
static pid_t snapshot_clone_find(pid_t pid, uint32_t inner)
{
	char path[64];
	int child;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fscanf(f, "%d", &child) == 1) {
		if (mitosis_proc_inner_pid(child) != inner)
			continue;
		fclose(f);
		return child;
	}
	fclose(f);
	return 0;
}

static int snapshot_wait(pid_t pid, int *status)
{
	pid_t got;

	do {
		got = waitpid(pid, status, __WALL);
	} while (got < 0 && errno == EINTR);
	return got == pid ? 0 : -ECHILD;
}

static int snapshot_hold(struct mitosis *ctl, uint64_t snapshot, uint32_t mm,
			 const struct mitosis_proc *proc, pid_t clone,
			 const struct snapshot_code *code)
{
	struct mitosis_proc clone_proc;
	int status, ret;

	ret = snapshot_wait(clone, &status);
	if (!ret && !WIFSTOPPED(status))
		ret = -ECHILD;
	if (!ret)
		ret = snapshot_code_repair(clone, code);
	if (!ret)
		ret = mitosis_proc_get(clone, &clone_proc, NULL);
	if (ret) {
		plugin_say("process %u: its clone can not be looked at (%s): try again", proc->pid,
			   strerror(-ret));
		return ret;
	}
	ret = mitosis_hold_mm(ctl, snapshot, mm, proc, &clone_proc);
	if (ret)
		plugin_say("%s", mitosis_error(ctl));
	return ret;
}

/*
 * The clone is killed and taken from its parent, which could else find a child it knows nothing of.
 */
static int snapshot_clone_end(struct parasite_ctl *pctl, pid_t pid, pid_t clone, long inner)
{
	long got = 0;
	int status;

	if (clone > 0) {
		kill(clone, SIGKILL);
		do {
			if (snapshot_wait(clone, &status))
				break;
		} while (WIFSTOPPED(status));
	}
	if (clone > 0 && !compel_syscall(pctl, __NR_wait4, &got, inner, 0, __WALL, 0, 0, 0) &&
	    got == inner)
		return 0;
	plugin_say("process %d has kept a child %ld that mitosis made: look at it before you go on",
		   pid, inner);
	return -ECHILD;
}

static const char *snapshot_clone_remedy(long e)
{
	switch (-e) {
	case EAGAIN:
		return "raise RLIMIT_NPROC of its user or pids.max of its cgroup";
	case ENOMEM:
		return "free memory or set vm.overcommit_memory=1";
	default:
		return "see criu's log";
	}
}

int snapshot_take(struct mitosis *ctl, uint64_t snapshot, uint32_t mm, pid_t pid)
{
	struct snapshot_code code = {};
	struct snapshot_rseq rseq;
	struct parasite_ctl *pctl;
	struct mitosis_proc proc;
	long inner = -EIO;
	pid_t clone;
	int ret, end;

	ret = mitosis_proc_get(pid, &proc, NULL);
	if (!ret)
		ret = snapshot_code_find(pid, &code);
	if (!ret)
		ret = snapshot_code_read(pid, &code, code.bytes);
	if (ret) {
		plugin_say("process %d can not be looked at (%s): try again", pid, strerror(-ret));
		return ret;
	}
	snapshot_rseq_read(pid, &rseq);
	pctl = compel_prepare(pid);
	if (!pctl || compel_syscall(pctl, __NR_clone, &inner, SNAPSHOT_CLONE_FLAGS, 0, 0, 0, 0, 0))
		inner = -EIO;
	if (inner <= 0) {
		ret = inner ? (int)inner : -EIO;
		plugin_say("process %d can not be copied on write (%s): %s", pid, strerror(-ret),
			   snapshot_clone_remedy(ret));
		goto out;
	}
	clone = snapshot_clone_find(pid, (uint32_t)inner);
	ret = -ECHILD;
	if (clone)
		ret = snapshot_hold(ctl, snapshot, mm, &proc, clone, &code);
	end = snapshot_clone_end(pctl, pid, clone, inner);
	if (!ret)
		ret = end;
out:
	end = snapshot_rseq_write(pid, &rseq);
	if (!ret)
		ret = end;
	free(pctl);
	return ret;
}
