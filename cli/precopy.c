// SPDX-License-Identifier: MIT
/*
 * Pre-copy: before a process is stopped for its dump, snapshots of it are taken while it runs on,
 * and the destination reads their pages. What has not been written to since is there already when
 * the process comes: the dump leaves it to these snapshots.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "images/mitosis_image.h"
#include "images/runs.h"
#include "mitosis-criu-plugin/finish.h"
#include "mitosis-criu-plugin/offer.h"

#define MIB_PAGES	256ULL
/* What is less is drained in less time than a snapshot takes. */
#define AUTO_MIN	(64 * MIB_PAGES)
#define AUTO_LEFT	(4 * MIB_PAGES)
#define AUTO_ROUNDS	4
/* how often to see how much has been written to */
#define LOOK_MS		1000
/* the part of the time that looking may take: the link is idle meanwhile */
#define LOOK_SHARE	20
/* how often to see how much memory is left: a thread copies 50 MiB in that time */
#define ROOM_MS		100
/* For copies of what is written to until it is seen that memory is short. */
#define RESERVE_MIN	(32 * MIB_PAGES)
#define RESERVE_SHARE	32	/* of the process's memory */
/* for what the other side says at last, when it cannot be written to */
#define LAST_WORD_S	5

#define REGION_END(r)	((r)->start + (r)->npages * 4096ULL)

#define PM_SWAPPED	(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)
#define PM_BUF		8192	/* entries of a pagemap in one look: 32 MiB */

int precopy_parse(const char *text)
{
	char *end;
	long n;

	if (!text || !strcmp(text, "auto"))
		return PRECOPY_AUTO;
	n = strtol(text, &end, 10);
	return *text < '0' || *text > '9' || *end || n > PRECOPY_MAX ? -1 : n;
}

/* Pages of anonymous memory of the tree, swapped out or not. */
static uint64_t tree_pages(pid_t pid)
{
	char path[64], *text, *at;
	uint64_t kb = 0;
	size_t n = 0, i;
	pid_t *tree = cli_tree(pid, &n);

	for (i = 0; tree && i < n; i++) {
		snprintf(path, sizeof(path), "/proc/%d/status", tree[i]);
		text = cli_read_file(path);
		at = text ? strstr(text, "\nRssAnon:") : NULL;
		kb += at ? strtoull(at + 9, NULL, 10) : 0;
		at = text ? strstr(text, "\nVmSwap:") : NULL;
		kb += at ? strtoull(at + 8, NULL, 10) : 0;
		free(text);
	}
	free(tree);
	return kb / 4;
}

/* Bytes that may still be charged to a cgroup before its processes are slowed down or killed. */
static uint64_t cgroup_room(const char *cgroup)
{
	uint64_t max = cli_cgroup_number(cgroup, "memory.max", NULL);
	uint64_t high = cli_cgroup_number(cgroup, "memory.high", NULL);
	uint64_t used = cli_cgroup_number(cgroup, "memory.current", NULL), cache;

	max = max < high ? max : high;
	if (max == UINT64_MAX || used == UINT64_MAX)
		return UINT64_MAX;
	/* it goes before anybody is killed */
	cache = cli_cgroup_number(cgroup, "memory.stat", "\ninactive_file ");
	used -= cache < used ? cache : 0;
	return used < max ? max - used : 0;
}

/* Pages that the tree may be given before the machine, or one of its cgroups, is out of memory. */
static uint64_t tree_room(pid_t pid)
{
	char *text = cli_read_file("/proc/meminfo");
	char *at = text ? strstr(text, "\nMemAvailable:") : NULL;
	uint64_t bytes = at ? strtoull(at + 14, NULL, 10) * 1024 : UINT64_MAX;
	char cgroup[PATH_MAX], seen[PATH_MAX] = "";
	size_t n = 0, i;
	pid_t *tree = cli_tree(pid, &n);

	for (i = 0; tree && i < n; i++) {
		if (cli_cgroup_of(tree[i], cgroup, sizeof(cgroup)) || !strcmp(cgroup, seen))
			continue;
		strcpy(seen, cgroup);
		for (; strlen(cgroup) > strlen(CLI_CGROUP); *strrchr(cgroup, '/') = 0) {
			uint64_t room = cgroup_room(cgroup);

			bytes = room < bytes ? room : bytes;
		}
	}
	free(tree);
	free(text);
	return bytes / 4096;
}

bool precopy_wanted(struct precopy *p)
{
	uint64_t pages, room;

	if (!p->rounds)
		return false;
	pages = tree_pages(p->pid);
	p->reserve = pages / RESERVE_SHARE > RESERVE_MIN ? pages / RESERVE_SHARE : RESERVE_MIN;
	/* it may write to all that it has while a round lasts, and how fast is not known */
	p->need = pages + p->reserve;
	if (p->rounds != PRECOPY_AUTO)
		return true;
	if (pages < AUTO_MIN) {
		snprintf(p->chosen, sizeof(p->chosen),
			 "no pre-copy: %.1f MiB are fetched sooner afterwards (less than %llu MiB)",
			 (double)pages / MIB_PAGES, AUTO_MIN / MIB_PAGES);
		return false;
	}
	room = tree_room(p->pid);
	if (room < p->need) {
		snprintf(p->chosen, sizeof(p->chosen),
			 "no pre-copy: %.1f MiB of memory are left, on this machine or to a cgroup of the process, for copies of what it writes to meanwhile (less than %.1f MiB)",
			 (double)room / MIB_PAGES, (double)p->need / MIB_PAGES);
		return false;
	}
	return true;
}

/* Takes note of it when memory gets short; true: it is nearly out. */
static bool room_look(struct precopy *p)
{
	uint64_t room = tree_room(p->pid);

	p->tight |= room < p->reserve;
	return room < p->reserve / 2;
}

void precopy_drop(struct precopy *p)
{
	/* one is needed by those after it */
	while (p->n)
		mitosis_release(p->ctl, p->snapshots[--p->n]);
}

/* What is there of [start, end) of the process. */
static int runs_present(int pagemap, uint64_t start, uint64_t end, struct mitosis_run **runs,
			size_t *n)
{
	static uint64_t buf[PM_BUF];
	int ret = 0;

	while (start < end && !ret) {
		uint64_t want = (end - start) / 4096 < PM_BUF ? (end - start) / 4096 : PM_BUF;
		ssize_t got = pread(pagemap, buf, want * sizeof(*buf), start / 4096 * sizeof(*buf));
		ssize_t i;

		/* it has ended meanwhile */
		if (got <= 0)
			return got && errno != ESRCH ? -errno : 0;
		for (i = 0; i < got / (ssize_t)sizeof(*buf) && !ret; i++)
			if (buf[i] & (PM_PRESENT | PM_SWAPPED))
				ret = runs_append(runs, n, start + i * 4096, 1);
		start += got / sizeof(*buf) * 4096;
	}
	return ret;
}

/*
 * The private anonymous memory of a process that runs: more or less what was there when the
 * snapshot was taken, whose clone knows exactly. What was mapped since is not taken, and what is
 * gone is not needed, be it with the process.
 */
static int runs_of(pid_t pid, struct mitosis_run **runs, size_t *n)
{
	unsigned long start, end, inode;
	char path[64], perms[5], name[8];
	char *line = NULL;
	int pagemap, ret = 0;
	size_t room = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (!maps || pagemap < 0)
		ret = errno == ENOENT || errno == ESRCH ? 0 : -errno;
	while (maps && pagemap >= 0 && !ret && getline(&line, &room, maps) > 0) {
		*name = 0;
		if (sscanf(line, "%lx-%lx %4s %*x %*s %lu %7s", &start, &end, perms, &inode,
			   name) < 4)
			continue;
		/* not [vdso], [vvar], [vsyscall], which are the kernel's */
		if (perms[3] == 'p' && !inode && strncmp(name, "[v", 2))
			ret = runs_present(pagemap, start, end, runs, n);
	}
	free(line);
	if (maps)
		fclose(maps);
	if (pagemap >= 0)
		close(pagemap);
	return ret;
}

/* Leaves of the runs what is held: not what was mapped after the snapshot had been taken. */
static int runs_clip(struct mitosis_image_pages *p)
{
	struct mitosis_run *held = NULL;
	size_t n = 0, r = 0, i;
	int ret = 0;

	for (i = 0; i < p->nruns && !ret; i++) {
		uint64_t start = p->runs[i].start, end = start + p->runs[i].npages * 4096;

		while (r < p->nregions && REGION_END(&p->regions[r]) <= start)
			r++;
		for (; r < p->nregions && p->regions[r].start < end && !ret; r++) {
			uint64_t from = p->regions[r].start > start ? p->regions[r].start : start;
			uint64_t to =
				REGION_END(&p->regions[r]) < end ? REGION_END(&p->regions[r]) : end;

			ret = runs_append(&held, &n, from, (to - from) / 4096);
			/* it may have some of the next run as well */
			if (to == end)
				break;
		}
	}
	free(p->runs);
	p->runs = held;
	p->nruns = n;
	return ret;
}

/* Has the plugin take a snapshot of all processes of the tree, which run on. */
static int round_take(struct precopy *p, const char *dir, uint64_t snapshot)
{
	char pid[16], id[17], taken[PATH_MAX + 32], *argv[CLI_CRIU_ARGS];
	uint64_t begin = cli_now_ms();
	int status = 0, ret, n;
	pid_t criu;

	snprintf(pid, sizeof(pid), "%d", p->pid);
	snprintf(id, sizeof(id), "%016lx", (unsigned long)snapshot);
	n = cli_criu_dump(argv, pid, (char *)dir);
	/*
	 * the plugin ends it before anything is dumped; were it to go on, nothing would be lost.
	 * The last of such options is what counts.
	 */
	if (n + p->ncriu_args > CLI_CRIU_ARGS - 2) {
		cli_say("there are too many options for criu: give %d at most",
			CLI_CRIU_ARGS - 2 - n);
		return -E2BIG;
	}
	cli_criu_options(argv, n, p->criu_args, p->ncriu_args);
	cli_criu_options(argv, n + p->ncriu_args, (char *[]){ "--leave-running" }, 1);
	setenv("MITOSIS_SNAPSHOT", id, 1);
	setenv("MITOSIS_LEAVE_RUNNING", "1", 1);
	ret = cli_spawn(argv, -1, 2, &criu);
	unsetenv("MITOSIS_SNAPSHOT");
	unsetenv("MITOSIS_LEAVE_RUNNING");
	if (ret) {
		cli_say("criu cannot be started: %s", strerror(-ret));
		return ret;
	}
	while (waitpid(criu, &status, 0) < 0 && errno == EINTR)
		;
	/* criu's own beginning is in it, too */
	p->stop_ms = cli_now_ms() - begin;
	p->stopped_ms += p->stop_ms;
	snprintf(taken, sizeof(taken), "%s/" MITOSIS_TAKEN_NAME, dir);
	if (!access(taken, R_OK))
		return 0;
	cli_say_criu_errors(dir, "dump.log");
	cli_say("criu could not take a snapshot of process %d for pre-copy (status %#x)", p->pid,
		status);
	return -EIO;
}

static int round_failed(const char *why)
{
	cli_say("no snapshot for pre-copy: %s", why);
	return -EIO;
}

/* Holds what the snapshot is of. */
static int round_hold(struct precopy *p, const char *dir, struct mitosis_image *img)
{
	char path[PATH_MAX + 32], err[MITOSIS_ERROR_LEN];
	struct mitosis_image_mm *mm;
	unsigned int id;
	int pid, ret = 0;
	size_t i;
	FILE *f;

	snprintf(path, sizeof(path), "%s/" MITOSIS_TAKEN_NAME, dir);
	f = fopen(path, "re");
	while (f && !ret && fscanf(f, "%d %u", &pid, &id) == 2) {
		mm = mitosis_image_add_mm(img, id);
		ret = mm ? runs_of(pid, &mm->pages.runs, &mm->pages.nruns) : -ENOMEM;
		if (ret)
			cli_say("the memory of process %d cannot be looked at: %s", pid,
				strerror(-ret));
		else if (mitosis_hold_pages(p->ctl, img->snapshot, id, mm->pages.runs,
					    mm->pages.nruns))
			ret = round_failed(mitosis_error(p->ctl));
	}
	if (f)
		fclose(f);
	if (ret)
		return ret;
	if (mitosis_seal(p->ctl, img, err, sizeof(err)))
		return round_failed(err);
	img->state = MITOSIS_IMAGE_PRECOPY;
	for (i = 0; i < img->nmms && !ret; i++)
		ret = runs_clip(&img->mms[i].pages);
	return ret ? round_failed("no memory is left") : 0;
}

/* Each step of a round can be long, and the process writes to its memory meanwhile. -ENOMEM. */
static int round_room(struct precopy *p)
{
	if (!room_look(p))
		return 0;
	round_failed("memory is short here");
	return -ENOMEM;
}

/* One more snapshot, which has what the ones before do not. A sentence when it fails. */
static int round_begin(struct precopy *p, const char *dir, struct mitosis_image *img)
{
	struct mitosis_offer offer = {
		.transports = p->transports,
		.addr = p->addr,
		.name = "pre-copy",
		.insecure = cli_insecure(),
	};
	char err[MITOSIS_ERROR_LEN];
	unsigned int i;
	int ret = 0;

	/* it goes with our socket, or with the last snapshot that leaves pages to it */
	img->flags = MITOSIS_HOLD_F_PRECOPY;
	if (mitosis_offer(p->ctl, img, &offer, err, sizeof(err)))
		return round_failed(err);
	img->flags &= ~MITOSIS_HOLD_F_PRECOPY;
	for (i = p->n; i && !ret; i--)
		ret = mitosis_hold_base(p->ctl, img->snapshot, p->snapshots[i - 1]);
	if (ret)
		round_failed(mitosis_error(p->ctl));
	if (!ret)
		ret = round_take(p, dir, img->snapshot);
	if (!ret)
		ret = round_room(p);
	if (!ret)
		ret = round_hold(p, dir, img);
	if (!ret)
		ret = round_room(p);
	if (ret)
		mitosis_release(p->ctl, img->snapshot);
	else
		p->snapshots[p->n++] = img->snapshot;
	return ret;
}

/* A sentence when it fails: nobody has heard of the round then. */
static int round_describe(int dirfd, struct mitosis_image *img)
{
	char err[MITOSIS_ERROR_LEN];

	/* what earlier ones have is not read from this one */
	mitosis_image_drop_inherited(img);
	return mitosis_image_write(dirfd, img, err, sizeof(err)) ? round_failed(err) : 0;
}

/* The session has ended, and says why if it can. */
static int round_lost(struct precopy *p)
{
	json_object_put(p->expect(p->arg, "last word", LAST_WORD_S));
	return -1;
}

/* Tells the destination of it. A sentence when it fails. */
static int round_send(struct precopy *p, int dirfd)
{
	uint64_t bytes = 0;

	if (wire_send_key(p->wire, "precopy") ||
	    wire_send_file(p->wire, dirfd, MITOSIS_IMAGE_NAME, &bytes) ||
	    wire_send_key(p->wire, "end"))
		return round_lost(p);
	return 0;
}

/* Written to of what this round has, as far as can be seen. */
static uint64_t round_changed(struct precopy *p)
{
	uint64_t pages = 0;

	mitosis_hold_changed(p->ctl, p->snapshots[p->n - 1], &pages);
	return pages;
}

/*
 * Until the other side has said something. -1, a sentence said: it does not, or it reads so slowly
 * that copies of what is written to have used up the memory.
 */
static int round_wait(struct precopy *p)
{
	uint64_t end = cli_now_ms() + p->patience * 1000ULL;

	while (!wire_wait(p->wire, ROOM_MS)) {
		if (room_look(p)) {
			precopy_drop(p);
			cli_say("memory is short here while the other side reads: use --precopy=0");
			return -1;
		}
		if (cli_now_ms() >= end) {
			cli_say("no part of the memory has been read there for %d s: see whether it is overloaded or the link is down, or use --precopy=0",
				p->patience);
			return -1;
		}
	}
	return 0;
}

/*
 * The destination reads it, part by part, until all is there or it is of no use. -1, a sentence
 * said: it cannot.
 */
static int round_read(struct precopy *p, uint64_t pages)
{
	uint64_t begin = cli_now_ms(), room_looked = begin, looked = begin, pause = LOOK_MS, now;
	int64_t left = pages, was, kept;
	json_object *o, *said;
	bool more;

	do {
		o = round_wait(p) ? NULL : p->expect(p->arg, "left", p->patience);
		if (!o)
			return -1;
		was = left;
		left = jint(o, "left");
		kept = json_object_object_get_ex(o, "kept", &said) ? json_object_get_int64(said) :
								     was - left;
		json_object_put(o);
		/* each part is of a page at least */
		if (left < 0 || (left && left >= was) || kept < 0 || kept > was - left) {
			cli_say("the other side has %ld pages of %ld left to read, which cannot be: install the same version of mitosis there",
				(long)left, (long)was);
			return -1;
		}
		p->pages += kept;
		p->unkept = 2 * kept < was - left;
		now = cli_now_ms();
		if (!left || now - room_looked >= LOOK_MS) {
			room_look(p);
			room_looked = now;
		}
		/* all pages are looked at for that */
		if (!left || now - looked >= pause) {
			p->changed = round_changed(p);
			looked = cli_now_ms();
			pause = LOOK_SHARE * (looked - now) > LOOK_MS ?
					LOOK_SHARE * (looked - now) :
					LOOK_MS;
			p->stale = p->rounds == PRECOPY_AUTO && 2 * p->changed >= pages;
		}
		more = left && !p->stale && !p->tight && !p->unkept;
		if (wire_send_key(p->wire, more ? "more" : "enough"))
			return round_lost(p);
	} while (more);
	p->ms += cli_now_ms() - begin;
	return 0;
}

/*
 * Whether one more round is worth its while: each takes the time that the link takes for what was
 * written in the one before, and is shorter than that as long as the process writes less than the
 * link moves.
 */
static bool round_again(struct precopy *p, uint64_t pages)
{
	if (p->tight || p->unkept)
		return false;
	if (p->rounds != PRECOPY_AUTO)
		return p->n < (unsigned int)p->rounds;
	/*
	 * the process stands still for one more as long as for the last: less than the link takes
	 * for what would move in it
	 */
	if (p->stale || p->n == AUTO_ROUNDS || p->changed <= AUTO_LEFT ||
	    2 * p->changed >= pages || p->changed * p->ms <= p->stop_ms * p->pages)
		return false;
	p->full = tree_room(p->pid) < p->need;
	return !p->full;
}

static void choose(struct precopy *p)
{
	int n;

	if (p->tight) {
		snprintf(p->chosen, sizeof(p->chosen),
			 "no pre-copy: memory became short here while the process wrote to what was being moved, and that was let go of");
		return;
	}
	n = snprintf(p->chosen, sizeof(p->chosen),
		     "pre-copy: %u round%s, %.1f MiB at %.1f MiB/s while the process ran on, stopped for %lu ms at most",
		     p->n, p->n == 1 ? "" : "s", (double)p->pages / MIB_PAGES,
		     p->ms ? p->pages * 1000.0 / MIB_PAGES / p->ms : 0,
		     (unsigned long)p->stopped_ms);
	snprintf(p->chosen + n, sizeof(p->chosen) - n,
		 "; %.1f MiB of the last were written to meanwhile%s",
		 (double)p->changed / MIB_PAGES,
		 p->unkept ? ", and memory is short there: the rest comes afterwards" :
		 p->stale  ? ", which is as fast as the link: the rest comes afterwards" :
		 p->full   ? ", and memory is short for copies in another: the rest comes afterwards" :
			     "");
}

int precopy_run(struct precopy *p)
{
	char id[17], dir[64];
	bool again = true;
	int ret = 0, work;

	while (again && !ret) {
		struct mitosis_image *img = mitosis_image_new();
		uint64_t pages = 0;

		/* it has a key: when we are killed it is swept as other directories of ours are */
		wire_new_id(id);
		work = cli_work_dir(CLI_RUN_DIR, id, dir, sizeof(dir));
		if (!img || work < 0) {
			cli_say("directory %s cannot be made: %s", dir, strerror(errno));
			ret = -EIO;
		} else if ((ret = round_begin(p, dir, img))) {
			/* what cannot be had while it runs may be had when it stands still */
			if (p->rounds == PRECOPY_AUTO || ret == -ENOMEM)
				ret = 0;
			again = false;
			if (!p->n)
				snprintf(p->chosen, sizeof(p->chosen),
					 "no pre-copy: the process cannot be had a snapshot of while it runs, see above");
		} else if (round_describe(work, img)) {
			/* nor could what the dump leaves to it */
			precopy_drop(p);
			ret = p->rounds == PRECOPY_AUTO ? 0 : -EIO;
			again = false;
			snprintf(p->chosen, sizeof(p->chosen),
				 "no pre-copy: what it has read cannot be described, see above");
		} else {
			pages = mitosis_image_npages(img);
			ret = round_send(p, work);
			if (!ret)
				ret = round_read(p, pages);
			again = !ret && round_again(p, pages);
			choose(p);
			p->step(p->arg);
		}
		if (work >= 0) {
			cli_remove_dir(dir);
			close(work);
		}
		mitosis_image_free(img);
	}
	/* they hold on to every page that has been copied since */
	if (p->tight) {
		precopy_drop(p);
		choose(p);
	}
	if (!ret && wire_send_key(p->wire, "dump"))
		ret = round_lost(p);
	return ret;
}

void precopy_bases(const struct precopy *p, char text[PRECOPY_BASES_LEN])
{
	unsigned int i;
	int n = 0;

	*text = 0;
	for (i = p->n; i; i--)
		n += sprintf(text + n, "%s%016lx", n ? "," : "",
			     (unsigned long)p->snapshots[i - 1]);
}

#define PART_PAGES	(32 * MIB_PAGES)
/*
 * Each begins and ends in a region of its own, and a region is of 2 MiB at most: so many regions
 * fit into a request as well.
 */
#define PART_RUNS	(MITOSIS_MAX_ARRAY / 2 - PART_PAGES / 512)

/*
 * A part of a snapshot's address space that is read at a time: as much as a link moves in about a
 * second, and as runs fit into a request.
 */
struct part {
	const struct mitosis_image_pages *pages;
	size_t run, region;		/* where the next begins */
	uint64_t done;			/* pages of that run */
	struct mitosis_run runs[PART_RUNS];
	size_t nruns, first, nregions;
	uint64_t npages;
};

/* The next one; false: there is none. */
static bool part_next(struct part *part)
{
	const struct mitosis_image_pages *p = part->pages;
	uint64_t end;

	part->nruns = 0;
	part->npages = 0;
	while (part->run < p->nruns && part->nruns < PART_RUNS && part->npages < PART_PAGES) {
		const struct mitosis_run *run = &p->runs[part->run];
		struct mitosis_run *to = &part->runs[part->nruns++];
		uint64_t n = run->npages - part->done;

		n = n < PART_PAGES - part->npages ? n : PART_PAGES - part->npages;
		*to = (struct mitosis_run){ run->start + part->done * 4096, n };
		part->npages += n;
		part->done += n;
		if (part->done == run->npages) {
			part->run++;
			part->done = 0;
		}
	}
	if (!part->nruns)
		return false;
	while (part->region < p->nregions &&
	       REGION_END(&p->regions[part->region]) <= part->runs[0].start)
		part->region++;
	part->first = part->region;
	end = part->runs[part->nruns - 1].start + part->runs[part->nruns - 1].npages * 4096;
	for (part->nregions = 0; part->first + part->nregions < p->nregions &&
	     p->regions[part->first + part->nregions].start < end; part->nregions++)
		;
	return true;
}

/* -EPIPE: the session has ended. -EAGAIN: not all of it has come in patience_s. */
static int part_read(struct mitosis *ctl, struct wire *w, uint64_t snapshot, uint32_t mm,
		     const struct part *part, int patience_s, uint64_t *kept)
{
	uint64_t end = cli_now_ms() + patience_s * 1000ULL, pages;
	int ret;

	*kept = 0;
	do {
		ret = mitosis_link_fill(ctl, snapshot, mm, part->runs, part->nruns,
					part->pages->regions + part->first, part->nregions, &pages);
		*kept += pages;
		/* nothing is to come before we have answered, but its end */
		if (ret == -EAGAIN && wire_has_input(w))
			return -EPIPE;
	} while (ret == -EAGAIN && cli_now_ms() < end);
	/* what was kept and has gone meanwhile has been read once more */
	*kept = *kept < part->npages ? *kept : part->npages;
	return ret;
}

/* Reads a snapshot's pages; 1: the other side has enough. */
static int fill_image(struct mitosis *ctl, struct wire *w, const struct mitosis_image *img,
		      int patience_s)
{
	struct part *part = calloc(1, sizeof(*part));
	uint64_t left = mitosis_image_npages(img), kept = 0;
	bool enough = false;
	json_object *o;
	int ret = part ? 0 : -ENOMEM;
	size_t i;

	for (i = 0; i < img->nmms && !ret && !enough; i++) {
		*part = (struct part){ .pages = &img->mms[i].pages };
		while (!ret && !enough && part_next(part)) {
			ret = part_read(ctl, w, img->snapshot, img->mms[i].pid, part, patience_s,
					&kept);
			if (ret)
				break;
			left -= part->npages;
			o = json_object_new_object();
			json_object_object_add(o, "left", json_object_new_uint64(left));
			json_object_object_add(o, "kept", json_object_new_uint64(kept));
			wire_send(w, o);
			o = wire_recv(w, WIRE_STALL_S * 1000);
			if (!o)
				ret = -EPIPE;
			enough = json_object_object_get_ex(o, "enough", NULL);
			json_object_put(o);
		}
	}
	/* there was nothing to read */
	if (!ret && !enough) {
		o = json_object_new_object();
		json_object_object_add(o, "left", json_object_new_uint64(0));
		wire_send(w, o);
		json_object_put(wire_recv(w, WIRE_STALL_S * 1000));
	}
	free(part);
	return ret;
}

/* One snapshot, of which the other side has just said that it is coming. */
static int receive_round(struct mitosis *ctl, struct wire *w, const char *dir, unsigned int give_up)
{
	int dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret;
	struct mitosis_image *img = NULL;
	char err[MITOSIS_ERROR_LEN];

	if (cli_receive_images(w, dir)) {
		close(dirfd);
		return -1;
	}
	ret = mitosis_image_read(dirfd, &img, err, sizeof(err));
	mitosis_image_remove(dirfd);
	close(dirfd);
	if (!ret)
		ret = mitosis_reach(ctl, img, give_up, err, sizeof(err));
	if (!ret) {
		ret = fill_image(ctl, w, img, give_up + WIRE_STALL_S);
		cli_test_step("filled");
		if (ret)
			snprintf(err, sizeof(err), "%s",
				 ret == -EPIPE ? "the session ended" : mitosis_error(ctl));
	}
	if (ret)
		wire_send_error(w, "pages cannot be read there before the process comes: %s", err);
	mitosis_image_free(img);
	return ret;
}

int precopy_receive(struct mitosis *ctl, struct wire *w, const char *dir, unsigned int give_up)
{
	json_object *o;
	int rounds, ret;
	bool round;

	for (rounds = 0;; rounds++) {
		o = wire_recv(w, WIRE_DUMP_S * 1000);
		if (!o && errno == ETIMEDOUT)
			wire_send_error(w, "nothing has come there for %d s, neither a round of pre-copy nor a dump",
					WIRE_DUMP_S);
		round = o && json_object_object_get_ex(o, "precopy", NULL);
		ret = o && json_object_object_get_ex(o, "dump", NULL) ? 0 : -1;
		json_object_put(o);
		if (!round)
			return ret;
		/* each keeps a link open */
		if (rounds == PRECOPY_MAX) {
			wire_send_error(w, "more than %d rounds of pre-copy have come there: install the same version of mitosis on both machines",
					PRECOPY_MAX);
			return -1;
		}
		if (receive_round(ctl, w, dir, give_up))
			return -1;
	}
}
