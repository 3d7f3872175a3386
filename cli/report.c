// SPDX-License-Identifier: MIT
/* list, show, stats, release */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

static void add_u64(json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static void add_str(json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static int list_hold(const struct mitosis_hold_info *h, void *arg)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "snapshot", cli_json_id(h->snapshot));
	add_str(o, "name", h->name);
	add_str(o, "state", mitosis_hold_state_name(h->state));
	add_str(o, "transport", h->transport);
	add_str(o, "address", h->addr);
	add_u64(o, "port", h->port);
	add_u64(o, "pages", h->pages_held);
	add_u64(o, "regions", h->nregions);
	add_u64(o, "peers", h->npeers);
	if (h->uid != UINT32_MAX)
		add_u64(o, "uid", h->uid);
	add_u64(o, "age_ms", h->age_ms);
	if (h->leased)
		add_u64(o, "lease_s", h->lease);
	json_object_object_add(o, "oneshot",
			       json_object_new_boolean(h->flags & MITOSIS_HOLD_F_ONESHOT));
	json_object_array_add(arg, o);
	return 0;
}

static int list_link(const struct mitosis_link_info *l, void *arg)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "snapshot", cli_json_id(l->snapshot));
	add_str(o, "transport", l->transport);
	add_str(o, "source", l->peer_addr);
	add_str(o, "state", mitosis_link_state_name(l->state));
	add_u64(o, "attached", l->nattached);
	add_u64(o, "age_ms", l->age_ms);
	add_u64(o, "down_ms", l->down_ms);
	add_u64(o, "give_up_s", l->give_up);
	json_object_array_add(arg, o);
	return 0;
}

/*
 * [{"below_ns", "faults"}...]: those of them that waited for less than that, and not for less than
 * half of it.
 */
static void add_latency(json_object *o, const uint64_t *latency)
{
	json_object *all = json_object_new_array(), *one;
	int i;

	for (i = 0; i < MITOSIS_LATENCY_MAX; i++) {
		if (!latency[i])
			continue;
		one = json_object_new_object();
		add_u64(one, "below_ns", 1ULL << i);
		add_u64(one, "faults", latency[i]);
		json_object_array_add(all, one);
	}
	json_object_object_add(o, "fault_latency", all);
}

static int list_attach(const struct mitosis_attach_info *a, void *arg)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "snapshot", cli_json_id(a->snapshot));
	add_u64(o, "pid", a->pid);
	add_u64(o, "mm", a->mm);
	add_u64(o, "pages", a->pages_total);
	add_u64(o, "pending", a->pages_pending);
	add_u64(o, "fault", a->pages_fault);
	add_u64(o, "shared", a->pages_shared);
	add_u64(o, "drain", a->pages_drain);
	add_u64(o, "eager", a->pages_eager);
	add_u64(o, "dead", a->pages_dead);
	add_u64(o, "unreadable", a->pages_unreadable);
	add_u64(o, "ahead", a->pages_ahead);
	add_u64(o, "precopied", a->pages_filled);
	add_u64(o, "drain_ms", a->drain_ns / 1000000);
	add_u64(o, "busy_ms", a->busy_ns / 1000000);
	add_latency(o, a->latency);
	json_object_array_add(arg, o);
	return 0;
}

static void print_all(json_object *all)
{
	json_object *list;
	size_t i;

	list = json_object_object_get(all, "snapshots");
	printf("%-16s  %-20s %-9s %6s %10s %6s %10s\n", "SNAPSHOT", "HELD FOR", "STATE", "UID",
	       "MIB", "PEERS", "AGE/S");
	for (i = 0; i < json_object_array_length(list); i++) {
		json_object *o = json_object_array_get_idx(list, i);

		json_object *uid = json_object_object_get(o, "uid");

		printf("%-16s  %-20s %-9s %6s %10.1f %6d %10.1f\n", jstr(o, "snapshot"),
		       jstr(o, "name"), jstr(o, "state"), uid ? json_object_get_string(uid) : "-",
		       jint(o, "pages") / 256.0, (int)jint(o, "peers"), jint(o, "age_ms") / 1000.0);
	}
	list = json_object_object_get(all, "links");
	printf("\n%-16s  %-20s %-10s %9s %6s %10s\n", "SNAPSHOT", "SOURCE", "LINK", "PROCESSES",
	       "DOWN/S", "AGE/S");
	for (i = 0; i < json_object_array_length(list); i++) {
		json_object *o = json_object_array_get_idx(list, i);

		printf("%-16s  %-20s %-10s %9d %6.1f %10.1f\n", jstr(o, "snapshot"),
		       jstr(o, "source"), jstr(o, "state"), (int)jint(o, "attached"),
		       jint(o, "down_ms") / 1000.0, jint(o, "age_ms") / 1000.0);
	}
	list = json_object_object_get(all, "processes");
	printf("\n%-16s  %8s %10s %10s %9s %9s\n", "SNAPSHOT", "PID", "PAGES", "MISSING",
	       "BY FAULT", "BY DRAIN");
	for (i = 0; i < json_object_array_length(list); i++) {
		json_object *o = json_object_array_get_idx(list, i);

		printf("%-16s  %8d %10ld %10ld %9ld %9ld\n", jstr(o, "snapshot"),
		       (int)jint(o, "pid"), (long)jint(o, "pages"), (long)jint(o, "pending"),
		       (long)jint(o, "fault"), (long)jint(o, "drain"));
	}
}

static int report(uint64_t snapshot, bool json)
{
	json_object *all = json_object_new_object(), *holds = json_object_new_array();
	json_object *links = json_object_new_array(), *attached = json_object_new_array();
	struct mitosis *ctl = cli_open();
	int ret = CLI_FAILED;

	json_object_object_add(all, "snapshots", holds);
	json_object_object_add(all, "links", links);
	json_object_object_add(all, "processes", attached);
	if (!ctl)
		goto out;
	if (mitosis_hold_get(ctl, snapshot, list_hold, holds) ||
	    mitosis_link_get(ctl, snapshot, list_link, links) ||
	    mitosis_attach_get(ctl, snapshot, list_attach, attached)) {
		cli_say("%s", mitosis_error(ctl));
		goto out;
	}
	if (snapshot && !json_object_array_length(holds) && !json_object_array_length(links)) {
		cli_say("there is no snapshot %016lx here: mitosis-cli list names them",
			(unsigned long)snapshot);
		goto out;
	}
	if (json)
		printf("%s\n", json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY));
	else
		print_all(all);
	ret = CLI_OK;
out:
	if (ctl)
		mitosis_close(ctl);
	json_object_put(all);
	return ret;
}

static bool json_option(int argc, char **argv, int *rest)
{
	static const struct option options[] = { { "json", 0, NULL, 'j' }, {} };
	bool json = false;
	int c;

	*rest = -1;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'j')
			return false;
		json = true;
	}
	*rest = optind;
	return json;
}

int cmd_list(int argc, char **argv)
{
	int rest;
	bool json = json_option(argc, argv, &rest);

	return rest < 0 || rest != argc ? CLI_USAGE : report(0, json);
}

int cmd_show(int argc, char **argv)
{
	uint64_t id;
	int rest;
	bool json = json_option(argc, argv, &rest);

	if (rest < 0 || rest != argc - 1 || !cli_parse_id(argv[rest], &id)) {
		cli_say("show needs one snapshot, 16 hexadecimal digits: mitosis-cli list names them");
		return CLI_USAGE;
	}
	return report(id, json);
}

/* Adds to {"UID": pages}. */
static int stats_user(const struct mitosis_hold_info *h, void *arg)
{
	char uid[16];

	snprintf(uid, sizeof(uid), "%u", h->uid);
	if (h->uid != UINT32_MAX)
		add_u64(arg, uid, jint(arg, uid) + h->pages_held);
	return 0;
}

static const char *ns_text(uint64_t ns)
{
	static char text[32];

	if (ns < 1 << 20)
		snprintf(text, sizeof(text), "%.4gus", ns / 1e3);
	else
		snprintf(text, sizeof(text), "%.4gms", ns / 1e6);
	return text;
}

enum stats_form { STATS_TEXT, STATS_JSON, STATS_PROMETHEUS };

static void stats_text(const uint64_t *stats, const uint64_t *latency, json_object *users)
{
	int i;

	for (i = 0; i < __MITOSIS_STAT_MAX; i++)
		printf("%-20s %lu\n", mitosis_stat_name(i), (unsigned long)stats[i]);
	for (i = 0; i < MITOSIS_LATENCY_MAX; i++)
		if (latency[i])
			printf("faults_below_%-8s %lu\n", ns_text(1ULL << i),
			       (unsigned long)latency[i]);
	json_object_object_foreach(users, uid, pages)
		printf("pages_held_uid_%-5s %s\n", uid, json_object_get_string(pages));
}

static void stats_json(const uint64_t *stats, const uint64_t *latency, json_object *users)
{
	json_object *o = json_object_new_object();
	int i;

	json_object_object_add(o, "pages_held_by_uid", json_object_get(users));
	for (i = 0; i < __MITOSIS_STAT_MAX; i++)
		add_u64(o, mitosis_stat_name(i), stats[i]);
	add_latency(o, latency);
	printf("%s\n", json_object_to_json_string(o));
	json_object_put(o);
}

static int stats_print(struct mitosis *ctl, enum stats_form form)
{
	uint64_t stats[__MITOSIS_STAT_MAX], latency[MITOSIS_LATENCY_MAX];
	json_object *users = json_object_new_object();
	int ret;

	ret = mitosis_stats(ctl, stats, latency) ?: mitosis_hold_get(ctl, 0, stats_user, users);
	if (!ret && form == STATS_PROMETHEUS)
		ret = prometheus_print(ctl, stats, latency, users);
	else if (!ret && form == STATS_JSON)
		stats_json(stats, latency, users);
	else if (!ret)
		stats_text(stats, latency, users);
	if (ret)
		cli_say("%s", mitosis_error(ctl));
	json_object_put(users);
	fflush(stdout);
	return ret;
}

int cmd_stats(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", 0, NULL, 'j' }, { "prometheus", 0, NULL, 'p' }, { "watch", 1, NULL, 'w' },
		{}
	};
	enum stats_form form = STATS_TEXT;
	struct mitosis *ctl;
	int c, watch = 0, ret;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'j')
			form = STATS_JSON;
		else if (c == 'p')
			form = STATS_PROMETHEUS;
		else if (c == 'w')
			watch = atoi(optarg);
		else
			return CLI_USAGE;
	}
	ctl = cli_open();
	if (!ctl)
		return CLI_FAILED;
	for (;;) {
		ret = stats_print(ctl, form);
		if (ret || watch <= 0)
			break;
		sleep(watch);
		if (form == STATS_TEXT)
			putchar('\n');
	}
	mitosis_close(ctl);
	return ret ? CLI_FAILED : CLI_OK;
}

int cmd_release(int argc, char **argv)
{
	static const struct option options[] = {
		{ "all", 0, NULL, 'a' }, { "force", 0, NULL, 'f' }, {}
	};
	bool all = false, force = false;
	struct mitosis_hold_info hold;
	struct mitosis *ctl;
	uint64_t id = 0;
	int c, ret;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'a')
			all = true;
		else if (c == 'f')
			force = true;
		else
			return CLI_USAGE;
	}
	if (all ? optind != argc : optind != argc - 1 || !cli_parse_id(argv[optind], &id)) {
		cli_say("release needs a snapshot, 16 hexadecimal digits, or --all: mitosis-cli list names them");
		return CLI_USAGE;
	}
	ctl = cli_open();
	if (!ctl)
		return CLI_FAILED;
	if (!all && !force && mitosis_hold_find(ctl, id, &hold) > 0 && hold.npeers) {
		cli_say("%u machines read from it: processes there that still miss pages of snapshot %016lx would be killed, --force releases it nevertheless",
			hold.npeers, (unsigned long)id);
		mitosis_close(ctl);
		return CLI_REFUSED;
	}
	ret = all ? mitosis_release_all(ctl) : mitosis_release(ctl, id);
	if (ret)
		cli_say("%s", mitosis_error(ctl));
	cli_sweep_prepared(ctl);
	mitosis_close(ctl);
	return ret ? CLI_FAILED : CLI_OK;
}
