// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/mitosis.h"

bool mitosis_transports_have(const char *transports, const char *transport)
{
	size_t n, len = strlen(transport);

	for (; *transports; transports += n + (transports[n] == ',')) {
		n = strcspn(transports, ",");
		if (n == len && !memcmp(transports, transport, n))
			return true;
	}
	return false;
}

static const char *const stat_names[] = {
	[MITOSIS_STAT_SNAPSHOTS]	= "snapshots",
	[MITOSIS_STAT_PAGES_HELD]	= "pages_held",
	[MITOSIS_STAT_REGIONS]		= "regions",
	[MITOSIS_STAT_PEERS_REFUSED]	= "peers_refused",
	[MITOSIS_STAT_PEERS]		= "peers",
	[MITOSIS_STAT_LINKS]		= "links",
	[MITOSIS_STAT_ATTACHED]		= "attached",
	[MITOSIS_STAT_FAULTS]		= "faults",
	[MITOSIS_STAT_FAULTS_READ]	= "faults_read",
	[MITOSIS_STAT_FAULT_NS]		= "fault_ns",
	[MITOSIS_STAT_FAULTS_ZERO]	= "faults_zero",
	[MITOSIS_STAT_FAULTS_NORETRY]	= "faults_noretry",
	[MITOSIS_STAT_PAGES_READ]	= "pages_read",
	[MITOSIS_STAT_PAGES_DRAIN]	= "pages_drain",
	[MITOSIS_STAT_PAGES_DEAD]	= "pages_dead",
	[MITOSIS_STAT_READS]		= "reads",
	[MITOSIS_STAT_READ_ERRORS]	= "read_errors",
	[MITOSIS_STAT_LINK_DOWN]	= "link_down",
	[MITOSIS_STAT_LINK_RECOVERED]	= "link_recovered",
	[MITOSIS_STAT_LINK_LOST]	= "link_lost",
	[MITOSIS_STAT_KILLED]		= "killed",
	[MITOSIS_STAT_DRAINED]		= "drained",
	[MITOSIS_STAT_RELEASED]		= "released",
	[MITOSIS_STAT_ACCESS_ERRORS]	= "access_errors",
	[MITOSIS_STAT_DRAIN_NS]		= "drain_ns",
	[MITOSIS_STAT_DRAIN_BUSY_NS]	= "drain_busy_ns",
	[MITOSIS_STAT_PAGES_UNREADABLE]	= "pages_unreadable",
	[MITOSIS_STAT_CACHE_PAGES]	= "cache_pages",
	[MITOSIS_STAT_CACHE_HITS]	= "cache_hits",
	[MITOSIS_STAT_CACHE_UNMAPPED]	= "cache_unmapped",
	[MITOSIS_STAT_FAULTS_WAITED]	= "faults_waited",
	[MITOSIS_STAT_PAGES_AHEAD]	= "pages_ahead",
	[MITOSIS_STAT_PAGES_FILLED]	= "pages_filled",
};

static const char *const event_names[] = {
	[MITOSIS_EVENT_RELEASED]	= "released",
	[MITOSIS_EVENT_PEER]		= "peer",
	[MITOSIS_EVENT_PEER_GONE]	= "peer_gone",
	[MITOSIS_EVENT_ATTACHED]	= "attached",
	[MITOSIS_EVENT_DRAINED]		= "drained",
	[MITOSIS_EVENT_LINK_DOWN]	= "link_down",
	[MITOSIS_EVENT_LINK_UP]		= "link_up",
	[MITOSIS_EVENT_LINK_LOST]	= "link_lost",
	[MITOSIS_EVENT_LINK_DONE]	= "link_done",
	[MITOSIS_EVENT_KILLED]		= "killed",
};

static const char *const hold_state_names[] = {
	[MITOSIS_HOLD_OPEN]		= "open",
	[MITOSIS_HOLD_SEALED]		= "sealed",
	[MITOSIS_HOLD_RELEASED]		= "released",
};

static const char *const link_state_names[] = {
	[MITOSIS_LINK_CONNECTING]	= "connecting",
	[MITOSIS_LINK_UP]		= "up",
	[MITOSIS_LINK_DOWN]		= "down",
	[MITOSIS_LINK_LOST]		= "lost",
	[MITOSIS_LINK_DONE]		= "done",
};

static const char *const prefetch_names[] = {
	[MITOSIS_PREFETCH_NONE]		= "none",
	[MITOSIS_PREFETCH_WINDOW]	= "window",
	[MITOSIS_PREFETCH_SEQUENTIAL]	= "sequential",
	[MITOSIS_PREFETCH_RECORDED]	= "recorded",
};

_Static_assert(sizeof(prefetch_names) / sizeof(prefetch_names[0]) == __MITOSIS_PREFETCH_MAX,
	       "every policy has a name");
_Static_assert(sizeof(stat_names) / sizeof(stat_names[0]) == __MITOSIS_STAT_MAX,
	       "every counter has a name");

#define NAME(names, i) \
	((i) < sizeof(names) / sizeof((names)[0]) && (names)[i] ? (names)[i] : "unknown")

int mitosis_prefetch_parse(const char *text, struct mitosis_arm *arm)
{
	size_t len = strcspn(text, "=");
	unsigned long window = 0;
	unsigned int i;
	char *end;

	for (i = 0; i < __MITOSIS_PREFETCH_MAX; i++)
		if (strlen(prefetch_names[i]) == len && !strncmp(text, prefetch_names[i], len))
			break;
	if (i == __MITOSIS_PREFETCH_MAX)
		return -EINVAL;
	if (text[len]) {
		if ((i != MITOSIS_PREFETCH_WINDOW && i != MITOSIS_PREFETCH_SEQUENTIAL) ||
		    text[len + 1] < '0' || text[len + 1] > '9')
			return -EINVAL;
		window = strtoul(text + len + 1, &end, 10);
		if (*end || !window || window > MITOSIS_WINDOW_MAX || (window & (window - 1)))
			return -EINVAL;
	}
	arm->prefetch = i;
	arm->window = window;
	return 0;
}

const char *mitosis_stat_name(unsigned int stat)
{
	return NAME(stat_names, stat);
}

const char *mitosis_event_name(unsigned int event)
{
	return NAME(event_names, event);
}

const char *mitosis_hold_state_name(unsigned int state)
{
	return NAME(hold_state_names, state);
}

const char *mitosis_link_state_name(unsigned int state)
{
	return NAME(link_state_names, state);
}
