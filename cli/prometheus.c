// SPDX-License-Identifier: MIT
/*
 * stats --prometheus: the text format that Prometheus reads, for node_exporter's textfile
 * collector. Base units, as is the custom there: seconds; memory is counted in pages of 4 KiB, as
 * everywhere here.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

enum kind { GAUGE, COUNTER, SECONDS };

static const struct metric {
	enum kind kind;
	const char *help;
} metrics[] = {
	[MITOSIS_STAT_SNAPSHOTS] = { GAUGE, "Snapshots that are held" },
	[MITOSIS_STAT_PAGES_HELD] = { GAUGE, "Pages that are held for readers" },
	[MITOSIS_STAT_REGIONS] = { GAUGE, "Memory regions that readers may read" },
	[MITOSIS_STAT_PEERS_REFUSED] = {
		COUNTER, "Readers refused: wrong key, no such snapshot, malformed request"
	},
	[MITOSIS_STAT_PEERS] = { COUNTER, "Readers accepted" },
	[MITOSIS_STAT_LINKS] = { GAUGE, "Links to snapshots elsewhere" },
	[MITOSIS_STAT_ATTACHED] = { GAUGE, "Address spaces that miss pages" },
	[MITOSIS_STAT_FAULTS] = { COUNTER, "Faults in memory that may be missing" },
	[MITOSIS_STAT_FAULTS_READ] = { COUNTER, "Faults for a page of the source" },
	[MITOSIS_STAT_FAULT_NS] = { SECONDS, "Time that faults for a page of the source took" },
	[MITOSIS_STAT_FAULTS_ZERO] = { COUNTER, "Faults answered with a page of zeros" },
	[MITOSIS_STAT_FAULTS_NORETRY] = {
		COUNTER, "Faults that read under the lock of the address space"
	},
	[MITOSIS_STAT_PAGES_READ] = { COUNTER, "Pages read from sources" },
	[MITOSIS_STAT_PAGES_DRAIN] = { COUNTER, "Pages installed by a drain" },
	[MITOSIS_STAT_PAGES_DEAD] = { COUNTER, "Pages that were not needed any more" },
	[MITOSIS_STAT_READS] = { COUNTER, "Read requests to sources" },
	[MITOSIS_STAT_READ_ERRORS] = { COUNTER, "Read requests that failed" },
	[MITOSIS_STAT_LINK_DOWN] = { COUNTER, "Links that broke" },
	[MITOSIS_STAT_LINK_RECOVERED] = { COUNTER, "Links that came back" },
	[MITOSIS_STAT_LINK_LOST] = { COUNTER, "Links that were given up" },
	[MITOSIS_STAT_KILLED] = { COUNTER, "Processes killed for a page that cannot be had" },
	[MITOSIS_STAT_DRAINED] = { COUNTER, "Address spaces that have got all their pages" },
	[MITOSIS_STAT_RELEASED] = { COUNTER, "Snapshots released" },
	[MITOSIS_STAT_ACCESS_ERRORS] = { COUNTER, "Requests of readers that the device refused" },
	[MITOSIS_STAT_DRAIN_NS] = { SECONDS, "Time that finished drains took" },
	[MITOSIS_STAT_DRAIN_BUSY_NS] = { SECONDS, "Of that, with a read under way" },
	[MITOSIS_STAT_PAGES_UNREADABLE] = { COUNTER, "Pages that a source refused to give" },
	[MITOSIS_STAT_CACHE_PAGES] = { GAUGE, "Pages kept for all children of a snapshot" },
	[MITOSIS_STAT_CACHE_HITS] = { COUNTER, "Pages that were kept already" },
	[MITOSIS_STAT_CACHE_UNMAPPED] = {
		COUNTER, "Kept pages taken from children because memory was short"
	},
	[MITOSIS_STAT_FAULTS_WAITED] = { COUNTER, "Faults that waited for their page" },
	[MITOSIS_STAT_PAGES_AHEAD] = {
		COUNTER, "Pages read before they were touched, not by a drain"
	},
	[MITOSIS_STAT_PAGES_FILLED] = { COUNTER, "Pages read before there was a process for them" },
};

_Static_assert(sizeof(metrics) / sizeof(metrics[0]) == __MITOSIS_STAT_MAX,
	       "every counter has a metric");

static void header(const char *name, const char *type, const char *help)
{
	printf("# HELP mitosis_%s %s.\n# TYPE mitosis_%s %s\n", name, help, name, type);
}

static void stat_print(unsigned int i, uint64_t value)
{
	const struct metric *m = &metrics[i];
	const char *base = mitosis_stat_name(i);
	char name[64];

	switch (m->kind) {
	case GAUGE:
		header(base, "gauge", m->help);
		printf("mitosis_%s %" PRIu64 "\n", base, value);
		break;
	case COUNTER:
		snprintf(name, sizeof(name), "%s_total", base);
		header(name, "counter", m->help);
		printf("mitosis_%s %" PRIu64 "\n", name, value);
		break;
	case SECONDS:
		/* fault_ns */
		snprintf(name, sizeof(name), "%.*s_seconds_total", (int)strlen(base) - 3, base);
		header(name, "counter", m->help);
		printf("mitosis_%s %.9f\n", name, value / 1e9);
		break;
	}
}

/*
 * The module counts in powers of two; a bucket here has all below its bound. They are the same for
 * all machines and times, so that they can be added up: from 2^10 ns to the last of the module's
 * that has a bound.
 */
#define LATENCY_FIRST	10

static void latency_print(const uint64_t *latency, uint64_t sum_ns)
{
	uint64_t n = 0;
	unsigned int i;

	header("fault_latency_seconds", "histogram",
	       "How long faults for a page of the source took");
	for (i = 0; i < MITOSIS_LATENCY_MAX; i++) {
		n += latency[i];
		if (i >= LATENCY_FIRST && i < MITOSIS_LATENCY_MAX - 1)
			printf("mitosis_fault_latency_seconds_bucket{le=\"%.9g\"} %" PRIu64 "\n",
			       (double)(1ULL << i) / 1e9, n);
	}
	printf("mitosis_fault_latency_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n", n);
	printf("mitosis_fault_latency_seconds_sum %.9f\n", sum_ns / 1e9);
	printf("mitosis_fault_latency_seconds_count %" PRIu64 "\n", n);
}

static int link_print(const struct mitosis_link_info *l, void *arg)
{
	(void)arg;
	printf("mitosis_link_down_seconds{snapshot=\"%016" PRIx64
	       "\",source=\"%s\",transport=\"%s\"} %.3f\n",
	       l->snapshot, l->peer_addr, l->transport, l->down_ms / 1e3);
	return 0;
}

static int pending_print(const struct mitosis_attach_info *a, void *arg)
{
	(void)arg;
	printf("mitosis_pages_pending{snapshot=\"%016" PRIx64 "\",mm=\"%u\",pid=\"%u\"} %" PRIu64
	       "\n",
	       a->snapshot, a->mm, a->pid, a->pages_pending);
	return 0;
}

int prometheus_print(struct mitosis *ctl, const uint64_t *stats, const uint64_t *latency,
		     json_object *users)
{
	unsigned int i;
	int ret;

	for (i = 0; i < __MITOSIS_STAT_MAX; i++)
		stat_print(i, stats[i]);
	latency_print(latency, stats[MITOSIS_STAT_FAULT_NS]);
	header("pages_held_by_uid", "gauge",
	       "Pages that are held, by the user whose process they are of");
	json_object_object_foreach(users, uid, pages)
		printf("mitosis_pages_held_by_uid{uid=\"%s\"} %s\n", uid,
		       json_object_get_string(pages));
	header("link_down_seconds", "gauge", "For how long a link has been broken; 0: it is not");
	ret = mitosis_link_get(ctl, 0, link_print, NULL);
	if (ret)
		return ret;
	header("pages_pending", "gauge", "Pages that a process still misses");
	return mitosis_attach_get(ctl, 0, pending_print, NULL);
}
