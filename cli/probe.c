// SPDX-License-Identifier: MIT
/*
 * Whether a destination reaches this source, and over what, before a process is touched: the source
 * offers a snapshot without memory over each transport that both may use, and the destination opens
 * a link to each.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "images/mitosis_image.h"
#include "mitosis-criu-plugin/offer.h"

#define PROBE_LEASE	120	/* seconds: if we die */
#define PROBE_MAX	4096	/* bytes of a descriptor */

static char *to_hex(const uint8_t *buf, size_t len)
{
	char *text = malloc(2 * len + 1);
	size_t i;

	if (text)
		*text = 0;
	for (i = 0; text && i < len; i++)
		sprintf(text + 2 * i, "%02x", buf[i]);
	return text;
}

/* -1: it is no hexadecimal number, or a long one. */
static ssize_t from_hex(const char *text, uint8_t *buf, size_t size)
{
	size_t len = strlen(text) / 2, i;

	if (len > size || strspn(text, "0123456789abcdef") != 2 * len)
		return -1;
	for (i = 0; i < len; i++)
		sscanf(text + 2 * i, "%2hhx", &buf[i]);
	return len;
}

/* {"transport", "descriptor"}; NULL: it is not offered here, which whoever dumps will be told. */
static json_object *probe_one(struct mitosis *ctl, const char *transport, const char *addr,
			      uint64_t *snapshot)
{
	struct mitosis_offer offer = {
		.transports = transport,
		.addr = addr,
		.name = "probe",
		.insecure = cli_insecure(),
		.lease = PROBE_LEASE,
	};
	struct mitosis_image *img = mitosis_image_new();
	char err[MITOSIS_ERROR_LEN], *text = NULL;
	json_object *o = NULL;
	void *buf = NULL;
	size_t len;

	if (!img || mitosis_offer(ctl, img, &offer, err, sizeof(err)))
		goto out;
	if (!mitosis_hold_seal(ctl, img->snapshot) &&
	    !mitosis_image_format(img, &buf, &len, err, sizeof(err)) && len <= PROBE_MAX)
		text = to_hex(buf, len);
	if (text) {
		o = json_object_new_object();
		json_object_object_add(o, "transport", json_object_new_string(transport));
		json_object_object_add(o, "descriptor", json_object_new_string(text));
		*snapshot = img->snapshot;
	} else {
		mitosis_release(ctl, img->snapshot);
	}
out:
	free(text);
	free(buf);
	mitosis_image_free(img);
	return o;
}

json_object *probe_offer(struct probe *p, const char *transports, const char *addr)
{
	char names[MITOSIS_TRANSPORTS_LEN], *name, *save = NULL;
	json_object *all = json_object_new_array(), *o;

	p->n = 0;
	p->ctl = cli_open();
	snprintf(names, sizeof(names), "%s", transports);
	for (name = strtok_r(names, ",", &save); p->ctl && name && p->n < PROBES;
	     name = strtok_r(NULL, ",", &save)) {
		o = probe_one(p->ctl, name, addr, &p->snapshots[p->n]);
		if (!o)
			continue;
		json_object_array_add(all, o);
		p->n++;
	}
	return all;
}

void probe_end(struct probe *p)
{
	while (p->n)
		mitosis_release(p->ctl, p->snapshots[--p->n]);
	if (p->ctl)
		mitosis_close(p->ctl);
	p->ctl = NULL;
}

static int probe_reach(struct mitosis *ctl, const char *descriptor, char *err, size_t errlen)
{
	uint8_t buf[PROBE_MAX];
	struct mitosis_image *img;
	ssize_t len = from_hex(descriptor, buf, sizeof(buf));
	int ret;

	if (len < 0) {
		snprintf(err, errlen, "the source says nonsense of where it is");
		return -EINVAL;
	}
	ret = mitosis_image_parse(buf, len, &img, err, errlen);
	if (ret)
		return ret;
	ret = mitosis_reach(ctl, img, 0, err, errlen);
	if (!ret)
		mitosis_link_close(ctl, img->snapshot);
	mitosis_image_free(img);
	return ret;
}

static const char *probe_find(json_object *probes, const char *transport)
{
	bool some = json_object_is_type(probes, json_type_array);
	size_t i, n = some ? json_object_array_length(probes) : 0;

	for (i = 0; i < n; i++) {
		json_object *o = json_object_array_get_idx(probes, i);

		if (!strcmp(jstr(o, "transport"), transport))
			return jstr(o, "descriptor");
	}
	return NULL;
}

void probe_try(json_object *probes, char *usable, json_object *unreached)
{
	char names[MITOSIS_TRANSPORTS_LEN], err[MITOSIS_ERROR_LEN], *name, *save = NULL;
	struct mitosis *ctl;

	/*
	 * One without is of before there were probes; one that can offer nothing says why itself.
	 */
	if (!json_object_is_type(probes, json_type_array) || !json_object_array_length(probes))
		return;
	ctl = mitosis_open(err, sizeof(err));
	if (!ctl)
		return;
	snprintf(names, sizeof(names), "%s", usable);
	*usable = 0;
	for (name = strtok_r(names, ",", &save); name; name = strtok_r(NULL, ",", &save)) {
		const char *descriptor = probe_find(probes, name);

		/* One that the source cannot offer now is not to be offered later. */
		if (!descriptor)
			continue;
		if (probe_reach(ctl, descriptor, err, sizeof(err))) {
			json_object_object_add(unreached, name, json_object_new_string(err));
			continue;
		}
		cli_transports_add(usable, name);
	}
	mitosis_close(ctl);
}
