// SPDX-License-Identifier: MIT
/* What would fail: here, there, and for this process there. */
#include <ctype.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <linux/magic.h>
#include <unistd.h>

#include "cli/cli.h"

#define TERMINAL_LEN 64

void problem(json_object *problems, const char *remedy, const char *fmt, ...)
{
	json_object *o = json_object_new_object();
	va_list ap;

	va_start(ap, fmt);
	json_object_object_add(o, "what", cli_sentence(fmt, ap));
	va_end(ap);
	json_object_object_add(o, "remedy", json_object_new_string(remedy));
	json_object_array_add(problems, o);
}

int check_report(json_object *problems, const char *side, json_object *all)
{
	size_t i, n = json_object_array_length(problems);

	for (i = 0; i < n; i++) {
		json_object *o = json_object_array_get_idx(problems, i);

		/* the other side's may be anything */
		if (!json_object_is_type(o, json_type_object))
			continue;
		cli_say("%s: %s: %s", side, jstr(o, "what"), jstr(o, "remedy"));
		if (!all)
			continue;
		json_object_object_add(o, "side", json_object_new_string(side));
		json_object_array_add(all, json_object_get(o));
	}
	return n ? CLI_REFUSED : CLI_OK;
}

/*
 * What criu check says of a kernel holds until the next boot or the next criu; on a small machine
 * it takes seconds.
 */
static bool criu_works(const char *version)
{
	char *known = cli_read_file(CLI_RUN_DIR "/criu-check"), boot[64] = "", *id;
	bool works;
	FILE *f;

	id = cli_read_file("/proc/sys/kernel/random/boot_id");
	if (id)
		snprintf(boot, sizeof(boot), "%.36s", id);
	free(id);
	works = known && strstr(known, boot) && strstr(known, version);
	free(known);
	if (works)
		return true;
	works = !system("criu check > /dev/null 2>&1");
	if (works && !cli_mkdir_p(CLI_RUN_DIR, 0700)) {
		f = fopen(CLI_RUN_DIR "/criu-check", "we");
		if (f) {
			fprintf(f, "%s\n%s", boot, version);
			fclose(f);
		}
	}
	return works;
}

static void check_criu(json_object *problems)
{
	int major = 0, minor = 0, sub = 0;
	char line[128] = "", path[512];
	FILE *f = popen("criu --version 2>/dev/null", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Version: %d.%d.%d", &major, &minor, &sub) >= 2)
			break;
	if (f)
		pclose(f);
	if (!major)
		problem(problems, "install criu 4.1.1 or newer", "criu is not there");
	else if (major * 10000 + minor * 100 + sub < CLI_CRIU_MIN)
		problem(problems, "install 4.1.1 or newer", "criu %d.%d.%d is too old", major,
			minor, sub);
	else if (!criu_works(line))
		problem(problems, "run criu check and mend what it names",
			"criu finds that this kernel lacks what it needs");
	snprintf(path, sizeof(path), "%s/mitosis_plugin.so", cli_plugin_dir());
	if (access(path, R_OK))
		problem(problems, "install mitosis there, or set MITOSIS_PLUGIN_DIR",
			"the criu plugin %s is not there", path);
}

bool cli_transports_are_good(const char *transports)
{
	const char *p = transports;
	size_t n;

	if (strlen(transports) >= MITOSIS_TRANSPORTS_LEN)
		p = "?";
	for (; *p; p += n + (p[n] == ',')) {
		n = strcspn(p, ",");
		if ((n != 2 || strncmp(p, "rc", n)) &&
		    (n != 3 || (strncmp(p, "dct", n) && strncmp(p, "tcp", n))))
			break;
	}
	if (*transports && !*p)
		return true;
	cli_say("--transport %s is none: dct, rc, tcp, or several, as dct,rc, the best one first",
		transports);
	return false;
}

void cli_own_settings(void)
{
	static const char *const names[] = {
		"MITOSIS_TRANSPORT", "MITOSIS_INSECURE", "MITOSIS_ONESHOT", "MITOSIS_FOLLOW",
		"MITOSIS_CACHE", "MITOSIS_NO_DRAIN", "MITOSIS_RECORD"
	};
	size_t i;

	/* when one is there, be it empty, what the file says of it does not count */
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		setenv(names[i], "", 0);
}

void cli_set_insecure(bool insecure)
{
	setenv("MITOSIS_INSECURE", insecure ? "1" : "", 1);
}

bool cli_insecure(void)
{
	const char *value = getenv("MITOSIS_INSECURE");

	return value && !strcmp(value, "1");
}

bool cli_insecure_is_clear(void)
{
	const char *value = getenv("MITOSIS_INSECURE");

	if (!value || !*value || cli_insecure())
		return true;
	cli_say("MITOSIS_INSECURE=%s is neither yes nor no: set it to 1 to let memory go unencrypted over transport tcp, or leave it away",
		value);
	return false;
}

void cli_transports_add(char *transports, const char *transport)
{
	if (*transports)
		strcat(transports, ",");
	strcat(transports, transport);
}

/* Whether a transport that needs an address has one. */
static bool check_has_addr(const char *name, const char *addr)
{
	char buf[1][MITOSIS_ADDR_LEN];

	if (!strcmp(name, "rc"))
		return addr ? mitosis_addr_has_rdma(addr) : !mitosis_default_addr(buf[0]);
	if (!strcmp(name, "tcp"))
		return addr ? mitosis_addr_is_local(addr) : mitosis_local_addrs(buf, 1) > 0;
	return true;
}

/* Whether rc and tcp could be used is what their address says. */
static void check_transports(json_object *problems, struct mitosis *ctl, const char *addr,
			     const char *transports, char *usable)
{
	char can[MITOSIS_TRANSPORTS_LEN], *name, *save = NULL;
	bool no_addr = false;

	if (mitosis_usable(ctl, transports, cli_insecure(), can)) {
		problem(problems, "load the module of this version of mitosis", "%s",
			mitosis_error(ctl));
		return;
	}
	for (name = strtok_r(can, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		if (!check_has_addr(name, addr)) {
			no_addr |= !strcmp(name, "rc");
			continue;
		}
		cli_transports_add(usable, name);
	}
	/* docs/tcp.md */
	if (mitosis_transports_have(usable, "tcp") && !cli_insecure() &&
	    !access("/sys/module/nvmet_tcp", F_OK))
		cli_say("this machine is an NVMe over TCP target: if with TLS, who has the key of a snapshot that is offered over tcp can be its client, and use its disks");
	if (*usable)
		return;
	/* It is there, and wants consent only where there is no TLS. */
	if (!cli_insecure() && transports && !mitosis_usable(ctl, transports, true, can) &&
	    mitosis_transports_have(can, "tcp"))
		problem(problems, "allow that with --insecure, or name another transport",
			"this kernel has no TLS for modules, so that memory goes over transport tcp unencrypted");
	else if (no_addr && addr)
		problem(problems, "see rdma link and ip addr", "address %s has no RDMA device here",
			addr);
	else if (no_addr)
		problem(problems, "see rdma link and ip addr; without RDMA: --transport tcp",
			"no network device with an RDMA device has an address");
	else
		problem(problems, "mitosis-cli check --transport NAME --loopback says why",
			"no transport of %s can be used here",
			transports ? transports : "the module's parameter transports");
}

void check_reach(json_object *problems, json_object *unreached)
{
	json_object_object_foreach(unreached, name, why)
		problem(problems,
			!strcmp(name, "tcp") ? "another address can be named with --addr" :
					       "see rdma link and ip addr on both machines, or name another address with --addr",
			"the source is not reached over transport %s: %s", name,
			json_object_get_string(why));
}

void check_machine(json_object *problems, const char *addr, const char *transports, char *usable)
{
	char err[MITOSIS_ERROR_LEN];
	struct mitosis *ctl;
	struct utsname uts;
	struct statfs fs;
	cap_t caps;
	cap_flag_value_t has = CAP_CLEAR;

	*usable = 0;
	caps = cap_get_proc();
	if (caps)
		cap_get_flag(caps, CAP_SYS_ADMIN, CAP_EFFECTIVE, &has);
	cap_free(caps);
	if (has != CAP_SET)
		problem(problems, "run it as root", "CAP_SYS_ADMIN is missing");
	uname(&uts);
	if (strcmp(uts.machine, "x86_64") || sysconf(_SC_PAGESIZE) != 4096)
		problem(problems, "use a machine of that kind",
			"%s with pages of %ld bytes is not x86-64 with 4 KiB", uts.machine,
			sysconf(_SC_PAGESIZE));
	ctl = mitosis_open(err, sizeof(err));
	if (!ctl) {
		problem(problems, "modprobe mitosis, as root", "%s", err);
	} else {
		if (mitosis_selftest(ctl))
			problem(problems, "use a kernel that mitosis knows (6.1 to 6.12)", "%s",
				mitosis_error(ctl));
		check_transports(problems, ctl, addr, transports, usable);
		mitosis_close(ctl);
	}
	if (statfs(CLI_CGROUP, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC)
		problem(problems, "mount it: mount -t cgroup2 none " CLI_CGROUP,
			"cgroup v2 is not mounted at " CLI_CGROUP);
	check_criu(problems);
}

/* Build-id of an ELF file in hexadecimal; empty when it has none. */
static void build_id(const char *path, char *out, size_t len)
{
	unsigned char buf[65536];
	Elf64_Ehdr *eh = (void *)buf;
	Elf64_Phdr *ph;
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), i;

	*out = 0;
	if (fd < 0)
		return;
	n = pread(fd, buf, sizeof(buf), 0);
	close(fd);
	if (n < (ssize_t)sizeof(*eh) || memcmp(eh->e_ident, ELFMAG, SELFMAG) ||
	    eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_phoff > (size_t)n || eh->e_phnum > (n - eh->e_phoff) / sizeof(*ph))
		return;
	ph = (void *)(buf + eh->e_phoff);
	for (i = 0; i < eh->e_phnum; i++) {
		size_t at = ph[i].p_offset, end = at + ph[i].p_filesz;

		if (ph[i].p_type != PT_NOTE || end > (size_t)n || end < at)
			continue;
		while (at + sizeof(Elf64_Nhdr) <= end) {
			Elf64_Nhdr *nh = (void *)(buf + at);
			size_t desc = at + sizeof(*nh) + ((nh->n_namesz + 3UL) & ~3UL);
			size_t next = desc + ((nh->n_descsz + 3UL) & ~3UL);

			if (next > end)
				break;
			if (nh->n_type == NT_GNU_BUILD_ID && nh->n_namesz == 4 &&
			    nh->n_descsz * 2 < len) {
				for (size_t k = 0; k < nh->n_descsz; k++)
					sprintf(out + 2 * k, "%02x", buf[desc + k]);
				return;
			}
			at = next;
		}
	}
}

static void describe_file(json_object *files, const char *path)
{
	json_object *o;
	struct stat st;
	char id[128];

	if (*path != '/' || json_object_object_get(files, path) || stat(path, &st) ||
	    !S_ISREG(st.st_mode))
		return;
	o = json_object_new_object();
	json_object_object_add(o, "size", json_object_new_int64(st.st_size));
	build_id(path, id, sizeof(id));
	if (*id)
		json_object_object_add(o, "build_id", json_object_new_string(id));
	json_object_object_add(files, path, o);
}

/*
 * Calls fn with what each open file of the process is, until it returns true; what it returned
 * last.
 */
static bool any_fd(pid_t pid, bool (*fn)(const char *target, void *arg), void *arg)
{
	char path[320], target[4096];
	bool found = false;
	struct dirent *e;
	ssize_t n;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, e->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = 0;
		found = fn(target, arg);
	}
	if (d)
		closedir(d);
	return found;
}

static bool describe_fd(const char *target, void *files)
{
	describe_file(files, target);
	return false;
}

static void describe_files(pid_t pid, json_object *files)
{
	char dir[64], *maps, *line, *save;

	snprintf(dir, sizeof(dir), "/proc/%d/maps", pid);
	maps = cli_read_file(dir);
	for (line = strtok_r(maps ? maps : dir + strlen(dir), "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *path = strchr(line, '/');

		if (path && !strstr(path, " (deleted)"))
			describe_file(files, path);
	}
	free(maps);
	any_fd(pid, describe_fd, files);
}

/* criu opens it there: it must be a directory of the same name. */
static void describe_cwd(pid_t pid, json_object *dirs)
{
	char link[64], target[4096];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/%d/cwd", pid);
	n = readlink(link, target, sizeof(target) - 1);
	if (n <= 0)
		return;
	target[n] = 0;
	json_object_object_add(dirs, target, json_object_new_boolean(true));
}

static uint64_t status_kb(pid_t pid, const char *key)
{
	char path[64], *text, *p;
	uint64_t kb = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	text = cli_read_file(path);
	p = text ? strstr(text, key) : NULL;
	if (p)
		kb = strtoull(p + strlen(key), NULL, 10);
	free(text);
	return kb;
}

static uint64_t meminfo_kb(const char *key)
{
	char *text = cli_read_file("/proc/meminfo"), *p = text ? strstr(text, key) : NULL;
	uint64_t kb = p ? strtoull(p + strlen(key), NULL, 10) : 0;

	free(text);
	return kb;
}

static bool fd_is(const char *target, void *want)
{
	return !strcmp(target, want);
}

bool cli_has_open(pid_t pid, const char *path)
{
	return any_fd(pid, fd_is, (void *)path);
}

/* Whether a socket of the process is in state ESTABLISHED in its network namespace. */
static bool has_established(pid_t pid)
{
	static const char *const tables[] = { "tcp", "tcp6" };
	char path[64], want[64], *text, *line, *save;
	bool found = false;
	unsigned int t;

	for (t = 0; t < 2 && !found; t++) {
		snprintf(path, sizeof(path), "/proc/%d/net/%s", pid, tables[t]);
		text = cli_read_file(path);
		for (line = text ? strtok_r(text, "\n", &save) : NULL; line && !found;
		     line = strtok_r(NULL, "\n", &save)) {
			unsigned int state;
			unsigned long inode;

			if (sscanf(line, "%*d: %*s %*s %x %*s %*s %*s %*d %*d %lu", &state,
				   &inode) != 2 ||
			    state != 1 || !inode)
				continue;
			snprintf(want, sizeof(want), "socket:[%lu]", inode);
			found = any_fd(pid, fd_is, want);
		}
		free(text);
	}
	return found;
}

static void check_pids_max(pid_t pid, size_t nprocs, json_object *problems)
{
	char dir[512], path[600], *max, *now;

	if (cli_cgroup_of(pid, dir, sizeof(dir)))
		return;
	snprintf(path, sizeof(path), "%s/pids.max", dir);
	max = cli_read_file(path);
	snprintf(path, sizeof(path), "%s/pids.current", dir);
	now = cli_read_file(path);
	if (max && now && isdigit((unsigned char)*max) &&
	    strtoull(now, NULL, 10) + 1 > strtoull(max, NULL, 10))
		problem(problems, "raise it by one for the time of the migration",
			"cgroup %s is at its pids.max: the copy-on-write clone of each of %zu processes needs one",
			dir, nprocs);
	free(max);
	free(now);
}

static void check_limits(pid_t pid, uint64_t rss_kb, json_object *problems)
{
	char path[64], *text, *p;

	text = cli_read_file("/proc/sys/vm/overcommit_memory");
	if (text && *text == '2' &&
	    meminfo_kb("Committed_AS:") + rss_kb > meminfo_kb("CommitLimit:"))
		problem(problems, "set vm.overcommit_memory=0 for the time of the migration",
			"vm.overcommit_memory=2 leaves no room for a copy-on-write clone of %lu MiB",
			(unsigned long)rss_kb / 1024);
	free(text);
	snprintf(path, sizeof(path), "/proc/%d/limits", pid);
	text = cli_read_file(path);
	p = text ? strstr(text, "Max processes") : NULL;
	if (p) {
		p += strlen("Max processes");
		while (*p == ' ')
			p++;
		if (isdigit((unsigned char)*p) && strtoull(p, NULL, 10) < 2)
			problem(problems, "raise it with prlimit",
				"process %d has RLIMIT_NPROC %lu: it cannot be cloned", pid,
				strtoul(p, NULL, 10));
	}
	free(text);
}

/* One that another migration has left in doubt, too: criu would wait for it to move, for ever. */
static void check_frozen(pid_t pid, json_object *problems)
{
	char dir[512];

	if (!cli_cgroup_of(pid, dir, sizeof(dir)) && fence_stands_still(dir))
		problem(problems, "see whether mitosis-cli resolve lists it; otherwise thaw it",
			"process %d is frozen in cgroup %s", pid, dir);
}

/* A unit that starts its program again when that has gone would make a second copy here. */
static void check_unit(pid_t pid, json_object *problems)
{
	char dir[512], command[700], line[128] = "", *unit, *end;
	FILE *f;

	if (access("/run/systemd/system", F_OK) || cli_cgroup_of(pid, dir, sizeof(dir)))
		return;
	end = strstr(dir, ".service");
	if (!end)
		return;
	end[strlen(".service")] = 0;
	unit = strrchr(dir, '/') + 1;
	if (strspn(unit, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.@-") !=
	    strlen(unit))
		return;
	snprintf(command, sizeof(command), "systemctl show -P Restart -- %s 2>/dev/null", unit);
	f = popen(command, "re");
	if (f && fgets(line, sizeof(line), f) && *line != '\n' && strncmp(line, "no\n", 3))
		problem(problems, "set Restart=no (systemctl edit --runtime) before it is moved",
			"process %d belongs to systemd's %s, which would start a second copy here",
			pid, unit);
	if (f)
		pclose(f);
}

static bool fd_is_terminal(const char *target, void *name)
{
	if (strncmp(target, "/dev/pts/", 9) && strncmp(target, "/dev/tty", 8))
		return false;
	snprintf(name, TERMINAL_LEN, "%s", target);
	return true;
}

/* A terminal is of its machine. */
static void check_terminal(pid_t pid, json_object *problems)
{
	char name[TERMINAL_LEN];

	if (any_fd(pid, fd_is_terminal, name))
		problem(problems,
			"start it as a service, or with setsid and its input and output redirected",
			"process %d uses terminal %s, which cannot be moved", pid, name);
}

json_object *check_describe(pid_t pid, bool tcp, json_object *problems)
{
	json_object *o = json_object_new_object(), *pids = json_object_new_array();
	json_object *files = json_object_new_object(), *dirs = json_object_new_object();
	uint64_t rss = 0;
	char path[64];
	size_t i, n;
	pid_t *tree;

	json_object_object_add(o, "pids", pids);
	json_object_object_add(o, "files", files);
	json_object_object_add(o, "dirs", dirs);
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	tree = cli_tree(pid, &n);
	if (!tree || access(path, F_OK)) {
		problem(problems, "name a process, not a kernel thread or a zombie",
			"there is no process %d to move", pid);
		free(tree);
		return o;
	}
	for (i = 0; i < n; i++) {
		uint64_t tracer = status_kb(tree[i], "TracerPid:");

		json_object_array_add(pids, json_object_new_int(tree[i]));
		rss += status_kb(tree[i], "RssAnon:");
		describe_files(tree[i], files);
		describe_cwd(tree[i], dirs);
		check_terminal(tree[i], problems);
		check_frozen(tree[i], problems);
		if (tracer)
			problem(problems, "end the debugger", "process %d is traced by process %lu",
				tree[i], (unsigned long)tracer);
		if (!tcp && has_established(tree[i]))
			problem(problems,
				"close them, or give --tcp-established and move the address, too",
				"process %d has established TCP connections", tree[i]);
	}
	json_object_object_add(o, "rss_kb", json_object_new_uint64(rss));
	check_pids_max(pid, n, problems);
	check_limits(pid, rss, problems);
	check_unit(pid, problems);
	free(tree);
	return o;
}

void check_memory(const char *what, uint64_t kb, json_object *problems)
{
	uint64_t available = meminfo_kb("MemAvailable:");

	if (available < kb)
		problem(problems, "free memory or use another machine",
			"%lu MiB are available, %s has %lu MiB", (unsigned long)available / 1024,
			what, (unsigned long)kb / 1024);
}

void check_arrival(json_object *described, json_object *problems)
{
	json_object *pids = json_object_object_get(described, "pids");
	json_object *files = json_object_object_get(described, "files");
	json_object *dirs = json_object_object_get(described, "dirs");
	char path[64];
	size_t i;

	if (!json_object_is_type(pids, json_type_array))
		return;
	for (i = 0; i < json_object_array_length(pids); i++) {
		int pid = json_object_get_int(json_object_array_get_idx(pids, i));

		snprintf(path, sizeof(path), "/proc/%d", pid);
		if (!access(path, F_OK))
			problem(problems,
				"end that process, or run the migrated one in a pid namespace at the source",
				"pid %d is taken", pid);
	}
	check_memory("the process", jint(described, "rss_kb"), problems);
	if (!json_object_is_type(files, json_type_object) ||
	    !json_object_is_type(dirs, json_type_object))
		return;
	json_object_object_foreach(dirs, dir, unused) {
		struct stat st;

		(void)unused;
		if (stat(dir, &st) || !S_ISDIR(st.st_mode))
			problem(problems, "make it there", "working directory %s is not there",
				dir);
	}
	json_object_object_foreach(files, name, want) {
		const char *id = jstr(want, "build_id");
		struct stat st;
		char have[128];

		if (stat(name, &st)) {
			problem(problems, "copy it there, or share the file system", "file %s: %s",
				name, strerror(errno));
			continue;
		}
		build_id(name, have, sizeof(have));
		if (st.st_size != jint(want, "size"))
			problem(problems, "install the same version on both machines",
				"file %s has %ld bytes, at the source it has %ld", name,
				(long)st.st_size, (long)jint(want, "size"));
		else if (*id && strcmp(id, have))
			problem(problems, "install the same version on both machines",
				"file %s has another build-id than at the source", name);
	}
}
