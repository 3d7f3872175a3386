// SPDX-License-Identifier: GPL-2.0-or-later
/* Numbered objects. */
#include "mlx5.h"

void table_init(struct table *t, uint32_t first, uint32_t size)
{
	t->first = first;
	t->size = size;
	t->next = 0;
	t->count = 0;
	t->p = g_new0(void *, size);
}

uint32_t table_add(struct table *t, void *p)
{
	uint32_t i;

	if (t->count == t->size)
		return 0;
	while (t->p[t->next])
		t->next = (t->next + 1) % t->size;
	i = t->next;
	t->next = (i + 1) % t->size;
	t->p[i] = p;
	t->count++;
	return t->first + i;
}

void *table_get(const struct table *t, uint32_t n)
{
	return n >= t->first && n - t->first < t->size ? t->p[n - t->first] : NULL;
}

void *table_remove(struct table *t, uint32_t n)
{
	void *p = table_get(t, n);

	if (p) {
		t->p[n - t->first] = NULL;
		t->count--;
	}
	return p;
}

void table_clear(struct table *t, void (*release)(void *))
{
	uint32_t i;

	for (i = 0; i < t->size; i++)
		if (t->p[i])
			release(t->p[i]);
	g_free(t->p);
	t->p = NULL;
	t->size = 0;
}
