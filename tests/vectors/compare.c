// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vectors.h"

#define MAX_TEXTS 16

/* All values of a field in the objects of one kind that one side makes. */
struct texts {
	const char *text[MAX_TEXTS];
	size_t n;
};

struct known {
	char kind[32], field[96], stock[128], ours[128];
	char *reason;
	bool met;
};

struct known_list {
	struct known *known;
	size_t n;
};

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char **)a, *(const char **)b);
}

static bool texts_have(const struct texts *t, const char *text)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (!strcmp(t->text[i], text))
			return true;
	return false;
}

/*
 * "0x1|0x5", in an order that does not depend on that of the objects; "nothing" for a list that is
 * empty.
 */
static const char *texts_join(const struct texts *t, char *joined, size_t size)
{
	size_t i, len = 0;

	snprintf(joined, size, "nothing");
	for (i = 0; i < t->n && len < size; i++)
		len += snprintf(joined + len, size - len, "%s%s", i ? "|" : "", t->text[i]);
	return joined;
}

static bool is_in(const struct vec_record *r, enum vec_kind kind, struct vec_range range)
{
	return r->kind == kind && r->offset >= range.from && r->offset < range.to;
}

static size_t count(const struct vec_trace *t, enum vec_kind kind, struct vec_range range)
{
	size_t i, n = 0;

	for (i = 0; i < t->n; i++)
		n += is_in(&t->records[i], kind, range);
	return n;
}

/* Those of the field that are not in the other set. */
static void texts_collect(struct texts *to, const struct vec_trace *t, enum vec_kind kind,
			  struct vec_range range, const char *field, const struct texts *other)
{
	const struct vec_record *r;
	size_t i, j;

	to->n = 0;
	for (i = 0; i < t->n; i++) {
		r = &t->records[i];
		for (j = 0; is_in(r, kind, range) && j < r->n; j++)
			if (!strcmp(r->values[j].field, field) &&
			    !texts_have(to, r->values[j].text) &&
			    !(other && texts_have(other, r->values[j].text)) && to->n < MAX_TEXTS)
				to->text[to->n++] = r->values[j].text;
	}
	qsort(to->text, to->n, sizeof(*to->text), by_text);
}

static struct known *known_find(struct known_list *l, const char *kind, const char *field,
				const char *stock, const char *ours)
{
	size_t i;

	for (i = 0; i < l->n; i++)
		if (!strcmp(l->known[i].kind, kind) && !strcmp(l->known[i].field, field) &&
		    !strcmp(l->known[i].stock, stock) && !strcmp(l->known[i].ours, ours))
			return &l->known[i];
	return NULL;
}

static int field_compare(const struct vec_trace *t, enum vec_kind kind, struct vec_range stock,
			 struct vec_range ours, const char *field, struct known_list *known,
			 FILE *out)
{
	struct texts theirs, mine;
	struct known *k;
	char a[128], b[128];

	texts_collect(&theirs, t, kind, stock, field, NULL);
	texts_collect(&mine, t, kind, ours, field, &theirs);
	if (!mine.n)
		return 0;
	texts_join(&theirs, a, sizeof(a));
	texts_join(&mine, b, sizeof(b));
	k = known_find(known, vec_kind_name[kind], field, a, b);
	if (!k) {
		fprintf(out, "not ok %s %s: stock has %s, mitosis has %s, and no reason is known\n",
			vec_kind_name[kind], field, a, b);
		return 1;
	}
	k->met = true;
	fprintf(out, "differs %s %s: stock has %s, mitosis has %s: %s\n", vec_kind_name[kind],
		field, a, b, k->reason);
	return 0;
}

static const struct vec_record *first(const struct vec_trace *t, enum vec_kind kind,
				      struct vec_range range)
{
	size_t i;

	for (i = 0; i < t->n; i++)
		if (is_in(&t->records[i], kind, range))
			return &t->records[i];
	return NULL;
}

static int kind_compare(const struct vec_trace *t, enum vec_kind kind, struct vec_range stock,
			struct vec_range ours, struct known_list *known, FILE *out)
{
	size_t theirs = count(t, kind, stock), mine = count(t, kind, ours), i, wrong = 0;
	const struct vec_record *r = first(t, kind, ours);
	const char *field = NULL;

	if (!theirs || !mine) {
		fprintf(out, "not ok %s: %s: nothing can be compared\n", vec_kind_name[kind],
			theirs ? "mitosis sends none" : "the stock drivers send none");
		return 1;
	}
	for (i = 0; i < r->n; i++) {
		/* a list has several of one name */
		if (field && !strcmp(field, r->values[i].field))
			continue;
		field = r->values[i].field;
		wrong += field_compare(t, kind, stock, ours, field, known, out);
	}
	fprintf(out, "compared %s: %zu of stock's, %zu of mitosis'\n", vec_kind_name[kind], theirs,
		mine);
	return wrong;
}

/*
 * "[@KERNEL] KIND FIELD STOCK MITOSIS REASON", # begins a comment. A line with a kernel is for that
 * one alone.
 */
static int known_read(FILE *f, const char *kernel, struct known_list *l, FILE *out)
{
	size_t room = 0, n = 0;
	char *line = NULL, *p;
	struct known k;
	int at, rc = 0;

	*l = (struct known_list){};
	while (!rc && getline(&line, &room, f) >= 0) {
		n++;
		line[strcspn(line, "\n")] = 0;
		p = line + strspn(line, " \t");
		if (!*p || *p == '#')
			continue;
		if (*p == '@') {
			at = strcspn(p, " \t");
			if (strncmp(p + 1, kernel, at - 1) || strlen(kernel) != (size_t)at - 1)
				continue;
			p += at;
		}
		at = 0;
		k = (struct known){};
		if (sscanf(p, "%31s %95s %127s %127s %n", k.kind, k.field, k.stock, k.ours, &at) !=
			    4 ||
		    !at || !p[at]) {
			fprintf(out,
				"not ok line %zu of the known differences: it has no kind, field, two values and a reason: write them\n",
				n);
			rc = -EINVAL;
			break;
		}
		k.reason = strdup(p + at);
		l->known = reallocarray(l->known, l->n + 1, sizeof(k));
		if (!l->known || !k.reason)
			abort();
		l->known[l->n++] = k;
	}
	free(line);
	return rc;
}

int vec_compare(const struct vec_trace *t, struct vec_range stock, struct vec_range ours,
		FILE *known, const char *kernel, FILE *out)
{
	struct known_list l;
	int wrong = known_read(known, kernel, &l, out);
	enum vec_kind kind;
	size_t i;

	for (kind = 0; kind < VEC_KINDS && wrong >= 0; kind++)
		wrong += kind_compare(t, kind, stock, ours, &l, out);
	for (i = 0; i < l.n; i++) {
		if (wrong >= 0 && !l.known[i].met) {
			fprintf(out,
				"not ok %s %s: the known difference of %s and %s does not occur any more: take it out\n",
				l.known[i].kind, l.known[i].field, l.known[i].stock,
				l.known[i].ours);
			wrong++;
		}
		free(l.known[i].reason);
	}
	free(l.known);
	return wrong;
}
