// SPDX-License-Identifier: MIT
/*
 * Containers of podman, moved by its own checkpoint and restore. An engine hands no environment on
 * to criu, and its runtimes differ in the files that they have criu read: what a migration sets
 * goes with a criu of its own, which stands first in the engine's PATH and is this program.
 * cmd_criu() finds its directory in there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "images/mitosis_image.h"

#define CRIU_NAME	"criu"
#define CRIU_CONF	"criu.conf"
#define CRIU_SETTINGS	"criu.settings"	/* NAME=VALUE a line */
#define TRACED_WAIT_MS	60000

/*
 * Standard output of a program, the caller's, and its exit status; NULL when it could not be
 * started.
 */
static char *output_of(char *const argv[], int *status)
{
	size_t len = 0, size = 0;
	char *text = NULL;
	int pipefd[2];
	ssize_t n = 1;
	pid_t pid;

	*status = -1;
	if (pipe2(pipefd, O_CLOEXEC))
		return NULL;
	if (cli_spawn(argv, -1, pipefd[1], &pid)) {
		close(pipefd[0]);
		close(pipefd[1]);
		return NULL;
	}
	close(pipefd[1]);
	while (n > 0) {
		char *more = size - len < 4096 ? realloc(text, size + 65536) : text;

		if (!more)
			break;
		if (more != text || !size)
			size += 65536;
		text = more;
		n = read(pipefd[0], text + len, size - len - 1);
		len += n > 0 ? n : 0;
	}
	close(pipefd[0]);
	waitpid(pid, status, 0);
	if (text)
		text[len] = 0;
	return text;
}

/* Whether podman says yes, by its exit status. */
static bool podman_says(const char *what, const char *verb, const char *name)
{
	char *argv[] = { "podman", (char *)what, (char *)verb, (char *)name, NULL };
	int status;

	free(output_of(argv, &status));
	return !status;
}

static json_object *podman_inspect(const char *what, const char *name)
{
	char *argv[] = { "podman", (char *)what, "inspect", (char *)name, NULL };
	json_object *all, *one = NULL;
	char *text;
	int status;

	text = output_of(argv, &status);
	all = text && !status ? json_tokener_parse(text) : NULL;
	if (json_object_is_type(all, json_type_array) && json_object_array_length(all) == 1)
		one = json_object_get(json_object_array_get_idx(all, 0));
	json_object_put(all);
	free(text);
	return one;
}

static size_t jlen(json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

/* Podman says that there is none; that it says nothing is another matter. */
static bool container_is_gone(json_object *d)
{
	char *argv[] = { "podman", "container", "exists", (char *)jstr(d, "id"), NULL };
	int status;

	free(output_of(argv, &status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 1;
}

bool container_is_good(json_object *d)
{
	const char *id = json_object_is_type(d, json_type_object) ? jstr(d, "id") : "";

	return strlen(id) == 64 && strspn(id, "0123456789abcdef") == 64;
}

int container_runs(json_object *d)
{
	json_object *c = podman_inspect("container", jstr(d, "id"));
	int runs = c ? jbool(jget(c, "State"), "Running") : container_is_gone(d) ? 0 : -1;

	json_object_put(c);
	return runs;
}

/* The cgroup in which there are processes of it, whatever podman knows of them. */
static bool container_cgroup(json_object *d, char *dir, size_t len)
{
	char name[80], *at = NULL;
	struct dirent *e;
	DIR *proc;

	snprintf(name, sizeof(name), "/libpod-%.64s", jstr(d, "id"));
	proc = strlen(jstr(d, "id")) == 64 ? opendir("/proc") : NULL;
	while (proc && !at && (e = readdir(proc))) {
		if (atoi(e->d_name) > 0 && !cli_cgroup_of(atoi(e->d_name), dir, len))
			at = strstr(dir, name);
		if (at)
			at[1 + strcspn(at + 1, "/")] = 0;
		/* one that nobody has waited for is listed there, too */
		if (at && !fence_is_populated(dir))
			at = NULL;
	}
	if (proc)
		closedir(proc);
	return at;
}

int container_lock(json_object *d)
{
	char id[17];

	/* both are random, and no migration's is one of these */
	snprintf(id, sizeof(id), "%.16s", jstr(d, "id"));
	return journal_lock(id);
}

bool container_lives(json_object *d)
{
	char dir[PATH_MAX];

	return container_cgroup(d, dir, sizeof(dir));
}

/* Addresses of these networks are of the machines' own network, and move with the container. */
static bool network_moves(const char *network)
{
	json_object *n = podman_inspect("network", network);
	const char *driver = jstr(n, "driver");
	bool moves = !strcmp(driver, "macvlan") || !strcmp(driver, "ipvlan");

	json_object_put(n);
	return moves;
}

/*
 * As podman_inspect(), but of that name: podman itself takes the beginning of a volume's, and of a
 * container's id, for it.
 */
static json_object *podman_named(const char *what, const char *name)
{
	json_object *o = podman_inspect(what, name);

	if (!strcmp(jstr(o, "Name"), name))
		return o;
	json_object_put(o);
	return NULL;
}

/*
 * What podman has made a volume of: "local", or a driver's name and its options; the caller's,
 * NULL: there is none.
 */
static char *volume_kind(const char *volume)
{
	json_object *v = podman_named("volume", volume), *options = jget(v, "Options");
	bool plain = !json_object_is_type(options, json_type_object) ||
		     !json_object_object_length(options);
	const char *text = plain ? "" :
				   json_object_to_json_string_ext(options, JSON_C_TO_STRING_PLAIN);
	char *kind = NULL;

	if (v && asprintf(&kind, "%s%s%s", jstr(v, "Driver"), plain ? "" : " ", text) < 0)
		kind = NULL;
	json_object_put(v);
	return kind;
}

/* Of a program that says a number first; 0 when it fails. */
static uint64_t number_of(char *const argv[])
{
	int status;
	char *text = output_of(argv, &status);
	uint64_t n = text && !status ? strtoull(text, NULL, 10) : 0;

	free(text);
	return n;
}

/* A part of its memory; 0 when it is not known. */
static uint64_t cgroup_bytes(const char *dir, const char *file, const char *word)
{
	uint64_t n = cli_cgroup_number(dir, file, word);

	return n == UINT64_MAX ? 0 : n;
}

static void describe_bytes(json_object *c, json_object *d)
{
	char *changes[] = {
		"podman", "container", "inspect", "--size", "--format", "{{.SizeRw}}",
		(char *)jstr(c, "Id"), NULL
	};
	char *du[] = { "du", "-sxB1", "--", NULL, NULL };
	json_object *mounts = jget(c, "Mounts");
	uint64_t bytes = number_of(changes), shared = 0, memory = 0;
	char cgroup[PATH_MAX];
	size_t i;

	for (i = 0; i < jlen(mounts) && !jbool(d, "shared_volumes"); i++) {
		json_object *m = json_object_array_get_idx(mounts, i);

		du[3] = (char *)jstr(m, "Source");
		if (!strcmp(jstr(m, "Type"), "volume"))
			bytes += number_of(du);
	}
	/* what is shared between processes, or lies in /dev/shm, goes along with the images */
	if (container_cgroup(d, cgroup, sizeof(cgroup))) {
		shared = cgroup_bytes(cgroup, "memory.stat", "\nshmem ");
		memory = shared + cgroup_bytes(cgroup, "memory.stat", "anon ") +
			 cgroup_bytes(cgroup, "memory.swap.current", NULL);
	}
	json_object_object_add(d, "bytes", json_object_new_uint64(bytes + shared));
	json_object_object_add(d, "memory_kb", json_object_new_uint64(memory / 1024));
}

static void check_free(json_object *d, const char *dir, uint64_t bytes, json_object *problems)
{
	struct statvfs fs;
	uint64_t room;

	if (statvfs(dir, &fs))
		return;
	room = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (room < bytes)
		problem(problems, "make room there",
			"volumes, changes and shared memory of container %s need %lu MiB in %s on their way, and there are %lu",
			jstr(d, "name"), (unsigned long)(bytes >> 20), dir,
			(unsigned long)(room >> 20));
}

/* Each side has the archive, and podman, in @storage, as many copies of what is in there. */
static void check_room(json_object *d, const char *storage, unsigned int copies,
		       json_object *problems)
{
	const char *archive = access(CLI_STATE_DIR, F_OK) ? "/var/lib" : CLI_STATE_DIR;
	uint64_t bytes = jint(d, "bytes");
	struct stat a, s;

	if (stat(archive, &a) || stat(storage, &s))
		return;
	if (a.st_dev == s.st_dev)
		copies++;
	else
		check_free(d, archive, bytes, problems);
	check_free(d, storage, copies * bytes, problems);
}

static void describe_mounts(json_object *mounts, json_object *described)
{
	json_object *volumes = json_object_new_array(), *binds = json_object_new_array();
	json_object *kinds = json_object_new_object();
	char *kind;
	size_t i;

	for (i = 0; i < jlen(mounts); i++) {
		json_object *m = json_object_array_get_idx(mounts, i);

		if (!strcmp(jstr(m, "Type"), "volume")) {
			json_object_array_add(volumes, json_object_new_string(jstr(m, "Name")));
			kind = volume_kind(jstr(m, "Name"));
			json_object_object_add(kinds, jstr(m, "Name"),
					       json_object_new_string(kind ?: "unknown"));
			free(kind);
		} else if (!strcmp(jstr(m, "Type"), "bind"))
			json_object_array_add(binds, json_object_new_string(jstr(m, "Source")));
	}
	json_object_object_add(described, "volumes", volumes);
	json_object_object_add(described, "volume_kinds", kinds);
	json_object_object_add(described, "binds", binds);
}

static void add_some(json_object *array, const char *text)
{
	if (*text)
		json_object_array_add(array, json_object_new_string(text));
}

static void describe_network(json_object *settings, json_object *described)
{
	json_object *networks = json_object_new_array(), *ports = json_object_new_array();
	json_object *moving = json_object_new_array(), *staying = json_object_new_array();

	json_object_object_add(described, "networks", networks);
	json_object_object_add(described, "moving", moving);
	json_object_object_add(described, "staying", staying);
	json_object_object_add(described, "ports", ports);
	if (json_object_is_type(jget(settings, "Networks"), json_type_object)) {
		json_object_object_foreach(jget(settings, "Networks"), name, network) {
			json_object *addrs = network_moves(name) ? moving : staying;

			json_object_array_add(networks, json_object_new_string(name));
			add_some(addrs, jstr(network, "IPAddress"));
			add_some(addrs, jstr(network, "GlobalIPv6Address"));
		}
	}
	if (json_object_is_type(jget(settings, "Ports"), json_type_object)) {
		json_object_object_foreach(jget(settings, "Ports"), port, hosts) {
			const char *proto = strchr(port, '/');
			size_t i;

			for (i = 0; i < jlen(hosts); i++) {
				char text[64];

				snprintf(text, sizeof(text), "%.40s%s",
					 jstr(json_object_array_get_idx(hosts, i), "HostPort"),
					 proto ?: "");
				json_object_array_add(ports, json_object_new_string(text));
			}
		}
	}
}

static bool has_string(json_object *array, const char *text)
{
	size_t i;

	for (i = 0; i < jlen(array); i++)
		if (!strcmp(json_object_get_string(json_object_array_get_idx(array, i)), text))
			return true;
	return false;
}

/* Another container of this machine, which does not move with it. */
static void check_other(json_object *d, json_object *other, json_object *problems)
{
	json_object *mounts = jget(other, "Mounts");
	size_t i;

	if (!strcmp(jstr(other, "Id"), jstr(d, "id")))
		return;
	if (has_string(jget(other, "Dependencies"), jstr(d, "id")))
		problem(problems, "move containers that stand for themselves",
			"container %s depends on container %s, or shares its namespaces",
			jstr(other, "Name"), jstr(d, "name"));
	if (jbool(d, "shared_volumes") || !jbool(jget(other, "State"), "Running"))
		return;
	for (i = 0; i < jlen(mounts); i++) {
		const char *volume = jstr(json_object_array_get_idx(mounts, i), "Name");

		if (*volume && has_string(jget(d, "volumes"), volume))
			problem(problems, "stop that one",
				"container %s uses volume %s, too, and would go on with the copy that stays",
				jstr(other, "Name"), volume);
	}
}

static void check_others(json_object *d, json_object *problems)
{
	char *argv[] = {
		"sh", "-c", "exec podman container inspect $(podman ps -aq --no-trunc)", NULL
	};
	char *text;
	json_object *all;
	int status;
	size_t i;

	/* one that is removed meanwhile makes it fail, and is not in there */
	text = output_of(argv, &status);
	all = text ? json_tokener_parse(text) : NULL;
	if (!jlen(all))
		problem(problems, "see podman's message",
			"podman does not say what other containers there are");
	for (i = 0; i < jlen(all); i++)
		check_other(d, json_object_array_get_idx(all, i), problems);
	json_object_put(all);
	free(text);
}

/* What would start it while it moves, or of what it has been and does not come with it. */
static void check_stays(json_object *c, json_object *d, json_object *problems)
{
	const char *unit = jstr(jget(jget(c, "Config"), "Labels"), "PODMAN_SYSTEMD_UNIT");
	const char *name = jstr(d, "name");
	const char *restart = jstr(jget(jget(c, "HostConfig"), "RestartPolicy"), "Name");
	char remedy[640];

	if (*unit)
		problem(problems, "run it without a unit, and make one there afterwards",
			"systemd unit %s would start container %s anew when it stops here", unit,
			name);
	if (*restart && strcmp(restart, "no")) {
		snprintf(remedy, sizeof(remedy),
			 "podman update --restart=no %.200s, and --restart=%.40s there afterwards",
			 name, restart);
		problem(problems, remedy,
			"by its restart policy %s podman would start container %s anew, here or there, when a machine is lost",
			restart, name);
	}
	if (json_object_is_type(jget(d, "volume_kinds"), json_type_object) &&
	    !jbool(d, "shared_volumes")) {
		json_object_object_foreach(jget(d, "volume_kinds"), volume, kind)
			if (strcmp(json_object_get_string(kind), "local"))
				problem(problems,
					"make it there, with the same content, and use --shared-volumes",
					"volume %s (%s) would be a plain one there", volume,
					json_object_get_string(kind));
	}
}

struct unfinished {
	const char *container;		/* id */
	char id[17], peer[256];
	bool lives;
};

static int find_unfinished(const char *id, json_object *journal, void *arg)
{
	struct unfinished *u = arg;

	if (strcmp(jstr(journal, "role"), "source") ||
	    strcmp(jstr(jget(journal, "container"), "id"), u->container))
		return 0;
	snprintf(u->id, sizeof(u->id), "%s", id);
	snprintf(u->peer, sizeof(u->peer), "%s", jstr(journal, "peer"));
	u->lives = journal_owner_lives(journal);
	return 1;
}

/* What stands still for a migration, or may run elsewhere, is not to be started again. */
static void check_runs(json_object *c, const char *name, json_object *problems)
{
	struct unfinished u = { .container = jstr(c, "Id") };
	json_object *state = jget(c, "State");
	char remedy[64];

	if (!journal_for_each(find_unfinished, &u)) {
		if (!jbool(state, "Running") || jbool(state, "Paused"))
			problem(problems, "start or unpause it", "container %s does not run", name);
	} else if (u.lives) {
		problem(problems, "wait for its end",
			"container %s is being moved to %s by migration %s", name, u.peer, u.id);
	} else {
		snprintf(remedy, sizeof(remedy), "mitosis-cli resolve %s", u.id);
		problem(problems, remedy,
			"container %s was on its way to %s in migration %s, which was cut off, and may run there",
			name, u.peer, u.id);
	}
}

json_object *container_describe(const char *name, bool shared_volumes, json_object *problems)
{
	json_object *c, *d;

	if (!podman_says("container", "exists", name)) {
		problem(problems, "see podman ps, or whether podman is installed",
			"there is no container %s of root's podman", name);
		return NULL;
	}
	c = podman_inspect("container", name);
	check_runs(c, name, problems);
	if (jbool(jget(c, "HostConfig"), "AutoRemove"))
		problem(problems, "start it without --rm",
			"podman forgets container %s when it stops here: it could not be taken back if the move fails",
			name);
	if (*jstr(c, "Pod") || jlen(jget(c, "Dependencies")))
		problem(problems, "move containers that stand for themselves",
			"container %s shares a pod or namespaces with another one, which podman cannot export",
			name);
	d = json_object_new_object();
	json_object_object_add(d, "name", json_object_new_string(jstr(c, "Name")));
	json_object_object_add(d, "id", json_object_new_string(jstr(c, "Id")));
	json_object_object_add(d, "dir", json_object_new_string(jstr(c, "StaticDir")));
	cli_process_add(d, "pid", jint(jget(c, "State"), "Pid"));
	json_object_object_add(d, "image", json_object_new_string(jstr(c, "Image")));
	json_object_object_add(d, "image_name", json_object_new_string(jstr(c, "ImageName")));
	json_object_object_add(d, "runtime", json_object_new_string(jstr(c, "OCIRuntime")));
	json_object_object_add(d, "shared_volumes", json_object_new_boolean(shared_volumes));
	describe_mounts(jget(c, "Mounts"), d);
	describe_network(jget(c, "NetworkSettings"), d);
	describe_bytes(c, d);
	check_room(d, jstr(c, "StaticDir"), 1, problems);
	check_stays(c, d, problems);
	check_others(d, problems);
	json_object_put(c);
	return d;
}

static bool program_is_there(const char *name)
{
	char *argv[] = { "sh", "-c", "command -v -- \"$0\" > /dev/null", (char *)name, NULL };
	int status;

	free(output_of(argv, &status));
	return !status;
}

void container_arrival(json_object *d, json_object *problems)
{
	const char *name = jstr(d, "name"), *runtime = jstr(d, "runtime");
	char *info[] = { "podman", "info", "--format", "{{.Store.GraphRoot}}", NULL };
	char remedy[640], what[256], *storage;
	struct unfinished u = { .container = jstr(d, "id") };
	json_object *array, *other;
	int status;
	size_t i;

	if (!json_object_is_type(d, json_type_object))
		return;
	/* what may be taken away again is found by it */
	if (!container_is_good(d)) {
		problem(problems, "see podman inspect there", "container %s has no id of podman's",
			name);
		return;
	}
	/* resolve would take away what has come back */
	if (journal_for_each(find_unfinished, &u)) {
		snprintf(remedy, sizeof(remedy), "mitosis-cli resolve %s there", u.id);
		problem(problems, remedy,
			"container %s went away from there to %s in migration %s, which has not been ended",
			name, u.peer, u.id);
	}
	if (!program_is_there("podman")) {
		problem(problems, "install podman", "podman is not there");
		return;
	}
	if (!program_is_there(runtime))
		problem(problems, "install it", "%s, the runtime of container %s, is not there",
			runtime, name);
	other = podman_named("container", name);
	if (other || podman_says("container", "exists", jstr(d, "id")))
		problem(problems, "remove or rename it: podman rm, podman rename",
			"there is a container %s already", name);
	json_object_put(other);
	if (!podman_says("image", "exists", jstr(d, "image"))) {
		snprintf(remedy, sizeof(remedy),
			 "copy it: podman image save %.200s | ssh HOST podman image load",
			 jstr(d, "image_name"));
		problem(problems, remedy, "image %s (%.12s) of container %s is not there",
			jstr(d, "image_name"), jstr(d, "image"), name);
	}
	snprintf(what, sizeof(what), "container %.200s", name);
	check_memory(what, jint(d, "memory_kb"), problems);
	storage = output_of(info, &status);
	if (storage) {
		storage[strcspn(storage, "\n")] = 0;
		check_room(d, storage, 2, problems);
	}
	free(storage);
	array = jget(d, "networks");
	for (i = 0; i < jlen(array); i++) {
		const char *network = json_object_get_string(json_object_array_get_idx(array, i));

		if (!podman_says("network", "exists", network))
			problem(problems, "make it as it is at the source: podman network create",
				"network %s of container %s is not there", network, name);
	}
	array = jget(d, "volumes");
	for (i = 0; i < jlen(array); i++) {
		const char *volume = json_object_get_string(json_object_array_get_idx(array, i));
		const char *kind = jstr(jget(d, "volume_kinds"), volume);
		char *there = volume_kind(volume);

		if (jbool(d, "shared_volumes") && !there)
			problem(problems,
				"make it as it is at the source (podman volume create), on what both machines have, or leave --shared-volumes away",
				"volume %s of container %s is not there", volume, name);
		else if (jbool(d, "shared_volumes") && strcmp(there, kind))
			problem(problems, "make it as it is at the source",
				"volume %s is another one there (%s) than at the source (%s)",
				volume, there, kind);
		else if (!jbool(d, "shared_volumes") && there)
			problem(problems,
				"remove it (podman volume rm), or use --shared-volumes when both machines have the same one",
				"volume %s would be written over", volume);
		free(there);
	}
	array = jget(d, "binds");
	for (i = 0; i < jlen(array); i++) {
		const char *path = json_object_get_string(json_object_array_get_idx(array, i));

		if (access(path, F_OK))
			problem(problems, "make it, with what the container expects there",
				"%s, which container %s has mounted, is not there", path, name);
	}
}

static int write_lines(const char *dir, const char *file, const char *const lines[])
{
	char path[PATH_MAX];
	int i, ret = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "we");
	if (!f)
		return -errno;
	for (i = 0; lines[i]; i++)
		fprintf(f, "%s\n", lines[i]);
	if (fclose(f))
		ret = -errno;
	return ret;
}

int container_criu(const char *dir, const char *const settings[])
{
	char path[PATH_MAX], self[PATH_MAX], libdir[PATH_MAX];
	const char *conf[] = { libdir, NULL };
	ssize_t n;
	int ret;

	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return -errno;
	self[n] = 0;
	snprintf(libdir, sizeof(libdir), "libdir %s", cli_plugin_dir());
	ret = write_lines(dir, CRIU_CONF, conf);
	if (!ret)
		ret = write_lines(dir, CRIU_SETTINGS, settings);
	snprintf(path, sizeof(path), "%s/" CRIU_NAME, dir);
	if (!ret && symlink(self, path))
		ret = -errno;
	return ret;
}

bool cli_is_criu(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');

	return !strcmp(slash ? slash + 1 : argv0, CRIU_NAME);
}

int cmd_criu(int argc, char **argv)
{
	const char *path = getenv("PATH") ?: "", *rest = strchr(path, ':');
	char file[PATH_MAX], *text, *line, *value, *save = NULL;

	(void)argc;
	snprintf(file, sizeof(file), "%.*s/" CRIU_SETTINGS, (int)strcspn(path, ":"), path);
	text = cli_read_file(file);
	if (!text || !rest) {
		cli_say("as criu this program is run by podman, for mitosis-cli migrate --container: %s is not there",
			file);
		return CLI_FAILED;
	}
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		value = strchr(line, '=');
		if (!value)
			continue;
		*value++ = 0;
		setenv(line, value, 1);
	}
	cli_own_settings();
	free(text);
	snprintf(file, sizeof(file), "%.*s/" CRIU_CONF, (int)strcspn(path, ":"), path);
	setenv("CRIU_CONFIG_FILE", file, 1);
	setenv("PATH", rest + 1, 1);
	execvp(CRIU_NAME, argv);
	cli_say("criu cannot be started: %s", strerror(errno));
	return CLI_FAILED;
}

/*
 * podman container VERB --tcp-established --file-locks ..., with a criu of its own. Of what it says
 * only errors are of interest.
 */
static pid_t podman_start(const char *dir, const char *verb, const char *const more[])
{
	char path[PATH_MAX + 4096];
	char *argv[32] = {
		"env", path, "podman", "container", (char *)verb, "--tcp-established",
		"--file-locks"
	};
	int n = 7, null = open("/dev/null", O_WRONLY | O_CLOEXEC), i, ret;
	pid_t pid;

	snprintf(path, sizeof(path), "PATH=%s:%s", dir,
		 getenv("PATH") ?: "/usr/sbin:/usr/bin:/sbin:/bin");
	for (i = 0; more[i]; i++)
		argv[n++] = (char *)more[i];
	argv[n] = NULL;
	ret = cli_spawn(argv, -1, null, &pid);
	if (null >= 0)
		close(null);
	return ret ? -1 : pid;
}

static int podman_wait(pid_t pid)
{
	int status = -1;

	if (pid > 0)
		waitpid(pid, &status, 0);
	return status;
}

pid_t container_checkpoint(json_object *d, const char *dir)
{
	char export[PATH_MAX];
	const char *args[] = {
		"--compress", "none", "--export", export, jstr(d, "id"),
		jbool(d, "shared_volumes") ? "--ignore-volumes" : NULL, NULL
	};

	snprintf(export, sizeof(export), "%s/" CONTAINER_ARCHIVE, dir);
	return podman_start(dir, "checkpoint", args);
}

int container_checkpointed(pid_t podman)
{
	uint64_t end;
	int status = podman_wait(podman);

	/* a runtime and a criu whose podman was killed go on */
	end = cli_now_ms() + WIRE_DUMP_S * 1000;
	while (podman > 0 && !kill(-podman, 0) && cli_now_ms() < end)
		usleep(10000);
	return status;
}

pid_t container_import(json_object *d, const char *dir)
{
	char import[PATH_MAX];
	const char *args[] = {
		"--import", import, jbool(d, "shared_volumes") ? "--ignore-volumes" : NULL, NULL
	};

	snprintf(import, sizeof(import), "%s/" CONTAINER_ARCHIVE, dir);
	return podman_start(dir, "restore", args);
}

/* 1, 0, or -1: somebody holds it. */
static int goes_on(json_object *d)
{
	uint64_t end = cli_now_ms() + TRACED_WAIT_MS;
	char path[64], *status;
	bool traced;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)jint(d, "pid"));
	while (cli_process_lives(d, "pid")) {
		status = cli_read_file(path);
		traced = status && !strstr(status, "\nTracerPid:\t0\n");
		free(status);
		/* what criu has dumped it kills as it lets go */
		if (!traced && cli_process_lives(d, "pid"))
			return 1;
		if (cli_now_ms() > end)
			return -1;
		usleep(10000);
	}
	return 0;
}

/*
 * What podman has written for an export that did not come to its end. It would take it, cut off as
 * it may be, for changes to make to the root file system, which has them already, and has room for
 * nothing else as long as copies of volumes lie there.
 */
static void remove_export(const char *dir)
{
	static const char *const files[] = { "rootfs-diff.tar", "deleted.files" };
	char path[PATH_MAX];
	size_t i;

	for (i = 0; *dir && i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/volumes", dir);
	if (*dir)
		cli_remove_dir(path);
}

int container_restore_here(json_object *d, const char *snapshot)
{
	char *cleanup[] = { "podman", "container", "cleanup", (char *)jstr(d, "id"), NULL };
	const char *settings[] = {
		cli_insecure() ? "MITOSIS_INSECURE=1" : "MITOSIS_INSECURE=", NULL
	};
	const char *args[] = { jstr(d, "id"), NULL };
	char *name = (char *)jstr(d, "name");
	int work, status = goes_on(d);
	char id[17], dir[PATH_MAX];
	json_object *state, *c;
	bool runs, restored;

	if (status > 0) {
		/* images that criu has not come to the end of */
		snprintf(dir, sizeof(dir), "%s/checkpoint", jstr(d, "dir"));
		if (*jstr(d, "dir"))
			cli_remove_dir(dir);
		return 0;
	}
	if (status < 0) {
		cli_say("process %d of container %s is being traced: wait for the criu or debugger that does it, then run mitosis-cli resolve",
			(int)jint(d, "pid"), name);
		return -1;
	}
	c = podman_inspect("container", args[0]);
	state = jget(c, "State");
	runs = jbool(state, "Running");
	restored = jbool(state, "Restored");
	json_object_put(c);
	/* by hand, or by who has died since */
	if (runs && restored)
		return 0;
	if (runs) {
		cli_say("container %s was started anew here: to keep it as it is, remove the migration's journal from " CLI_STATE_DIR
			" and mitosis-cli release %s%s; to go back to what it had in memory then, which does not know what has been written to its volumes since, podman stop it and resolve again",
			name, *snapshot ? "snapshot " : "its snapshot (mitosis-cli list)",
			snapshot);
		return -1;
	}
	remove_export(jstr(d, "dir"));
	/* podman restores what it has cleaned up after, which another podman may be about to do */
	free(output_of(cleanup, &status));
	wire_new_id(id);
	work = cli_work_dir(CLI_RUN_DIR, id, dir, sizeof(dir));
	if (work < 0 || container_criu(dir, settings)) {
		cli_say("directory %s cannot be made: %s", dir, strerror(errno));
		return -1;
	}
	status = podman_wait(podman_start(dir, "restore", args));
	cli_remove_dir(dir);
	close(work);
	/* it may have ended since, by itself */
	return status ? -1 : 0;
}

/* Where podman keeps the images of a checkpoint; a descriptor, or -1. */
int container_images(json_object *d)
{
	json_object *c = podman_inspect("container", jstr(d, "id"));
	const char *dir = jstr(jget(c, "State"), "CheckpointPath");
	int fd = *dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	json_object_put(c);
	return fd;
}

/*
 * What podman does not know to run, as it died before it had written that down, it does not end
 * either. With nothing left running its runtime may still know of it, and would refuse another
 * container of this id.
 */
static void kill_left(json_object *d)
{
	char *delete[] = {
		"sh", "-c", "exec \"$0\" delete --force \"$1\" > /dev/null 2>&1",
		(char *)jstr(d, "runtime"), (char *)jstr(d, "id"), NULL
	};
	char dir[PATH_MAX];
	int status;

	if (container_cgroup(d, dir, sizeof(dir)))
		fence_kill(dir);
	free(output_of(delete, &status));
}

int container_remove(json_object *d, bool with_volumes)
{
	const char *id = jstr(d, "id");
	bool was_here = podman_says("container", "exists", id);
	/*
	 * Podman imports no container whose volumes are there, so those of one that it has imported
	 * are its own. By then nobody else's is named so.
	 */
	json_object *volumes =
		with_volumes && was_here && !jbool(d, "shared_volumes") ? jget(d, "volumes") : NULL;
	char *rm[] = { "podman", "rm", "-f", "-i", "-t", "0", (char *)id, NULL };
	int status;
	size_t i;

	if (was_here)
		free(output_of(rm, &status));
	kill_left(d);
	if (was_here && !container_is_gone(d))
		free(output_of(rm, &status));
	if (!container_is_gone(d) || container_lives(d)) {
		cli_say("container %s (%.12s) cannot be removed: see podman's message above, and podman rm it before it is started again",
			jstr(d, "name"), id);
		return -1;
	}
	for (i = 0; i < jlen(volumes); i++) {
		json_object *o = json_object_array_get_idx(volumes, i);
		char *volume = (char *)json_object_get_string(o), *kind = volume_kind(volume);
		char *volume_rm[] = { "podman", "volume", "rm", volume, NULL };

		if (kind)
			free(output_of(volume_rm, &status));
		free(kind);
	}
	return 0;
}

static uint16_t checksum(uint32_t sum, const void *data, size_t len)
{
	const uint16_t *p = data;

	for (; len > 1; len -= 2)
		sum += *p++;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/*
 * A segment from @from to @to that is not where their connection stands. What answers it, as TCP
 * does, with what it expects, is told then that there is no connection: who waits for an answer
 * sends nothing by itself.
 */
static void poke(const struct addrinfo *from, const struct addrinfo *to, uint32_t seq)
{
	struct {
		struct in_addr from, to;
		uint16_t proto, len;
	} pseudo = { .proto = htons(IPPROTO_TCP), .len = htons(sizeof(struct tcphdr)) };
	struct tcphdr tcp = { .doff = sizeof(tcp) / 4, .ack = 1, .seq = htonl(seq) };
	int fd = socket(from->ai_family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);
	int offset = offsetof(struct tcphdr, check);
	struct sockaddr_storage source, dest;

	memcpy(&source, from->ai_addr, from->ai_addrlen);
	memcpy(&dest, to->ai_addr, to->ai_addrlen);
	if (from->ai_family == AF_INET6) {
		tcp.source = ((struct sockaddr_in6 *)&source)->sin6_port;
		tcp.dest = ((struct sockaddr_in6 *)&dest)->sin6_port;
		((struct sockaddr_in6 *)&source)->sin6_port = 0;
		((struct sockaddr_in6 *)&dest)->sin6_port = 0;
		setsockopt(fd, IPPROTO_IPV6, IPV6_CHECKSUM, &offset, sizeof(offset));
	} else {
		tcp.source = ((struct sockaddr_in *)&source)->sin_port;
		tcp.dest = ((struct sockaddr_in *)&dest)->sin_port;
		pseudo.from = ((struct sockaddr_in *)&source)->sin_addr;
		pseudo.to = ((struct sockaddr_in *)&dest)->sin_addr;
		tcp.check = checksum((uint16_t)~checksum(0, &pseudo, sizeof(pseudo)), &tcp,
				     sizeof(tcp));
	}
	/*
	 * what cannot be sent, as with an address that is not this machine's, ends with a time-out
	 */
	if (fd >= 0 && !bind(fd, (void *)&source, from->ai_addrlen))
		sendto(fd, &tcp, sizeof(tcp), 0, (void *)&dest, to->ai_addrlen);
	if (fd >= 0)
		close(fd);
}

/* A line of conntrack's: who had connected to which address of this machine. */
static void end_connection(const char *line)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM
	};
	struct addrinfo *client = NULL, *server = NULL;
	char src[64], dst[64], sport[8], dport[8];
	const char *flow = strstr(line, "src=");

	if (strncmp(line, "tcp", 3) || !flow ||
	    sscanf(flow, "src=%63s dst=%63s sport=%7s dport=%7s", src, dst, sport, dport) != 4)
		return;
	if (!getaddrinfo(src, sport, &hints, &client) &&
	    !getaddrinfo(dst, dport, &hints, &server) && client->ai_family == server->ai_family) {
		/* one of them is not what is expected next */
		poke(server, client, 0);
		poke(server, client, 1U << 31);
	}
	if (client)
		freeaddrinfo(client);
	if (server)
		freeaddrinfo(server);
}

/*
 * Connections to published ports would still be translated to where nobody is, and clients wait for
 * a time-out. Without an entry their next packet meets a closed port.
 */
static void end_connections(json_object *addrs)
{
	char *argv[] = {
		"sh", "-c", "exec conntrack -D -f \"$0\" -r \"$1\" 2> /dev/null", NULL, NULL, NULL
	};
	char *text, *line, *save;
	int status;
	size_t i;

	for (i = 0; i < jlen(addrs); i++) {
		argv[4] = (char *)json_object_get_string(json_object_array_get_idx(addrs, i));
		argv[3] = strchr(argv[4], ':') ? "ipv6" : "ipv4";
		text = output_of(argv, &status);
		for (line = text ? strtok_r(text, "\n", &save) : NULL; line;
		     line = strtok_r(NULL, "\n", &save))
			end_connection(line);
		free(text);
	}
}

int container_leave(json_object *d, const char *host)
{
	json_object *moving = jget(d, "moving"), *ports = jget(d, "ports");
	size_t i;
	int ret;

	/* what runs there must not be started here; its volumes stay */
	ret = container_remove(d, false);
	end_connections(jget(d, "staying"));
	if (jlen(ports) && !program_is_there("conntrack"))
		cli_say("clients that were connected to container %s through this machine wait for a time-out: install conntrack, which has them told",
			jstr(d, "name"));

	for (i = 0; i < jlen(moving); i++)
		cli_say("container %s has kept its address %s", jstr(d, "name"),
			json_object_get_string(json_object_array_get_idx(moving, i)));
	for (i = 0; i < jlen(ports); i++)
		cli_say("port %s of container %s is published by %s now, and not here: its address has changed, clients have to connect anew",
			json_object_get_string(json_object_array_get_idx(ports, i)),
			jstr(d, "name"), host);
	return ret;
}
