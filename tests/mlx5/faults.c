// SPDX-License-Identifier: GPL-2.0-or-later
/* Faults that a test injects, as properties of the device that can be set at any time (qom-set). */
#include "mlx5.h"
#include "qapi/visitor.h"

enum { PORT_DOWN = 1, PORT_ACTIVE = 4 }; /* sub-types of a port's event */

/*
 * The packet is lost: with the link, as the next so many, or as every so many of those that are
 * counted.
 */
bool faults_drop(struct mdev *d, const struct pkt *h)
{
	struct faults *f = &d->faults;

	if (f->link_down)
		return true;
	if (!f->drop_next && !f->drop_every)
		return false;
	if (f->drop_ops && !(f->drop_ops & 1u << h->op))
		return false;
	if (f->drop_next) {
		f->drop_next--;
		return true;
	}
	return !(++f->seen % f->drop_every);
}

static void port_event(struct mdev *d, bool up)
{
	uint8_t data[28] = { [8] = 1 << 4 };

	if (d->hca_ready)
		eq_event(d, EVENT_PORT_CHANGE, up ? PORT_ACTIVE : PORT_DOWN, data, sizeof(data));
}

#define PROP_U32(name)                                                                           \
	static void name##_get(Object *o, Visitor *v, const char *n, void *opaque, Error **errp) \
	{                                                                                        \
		visit_type_uint32(v, n, &MDEV(o)->faults.name, errp);                            \
	}                                                                                        \
	static void name##_set(Object *o, Visitor *v, const char *n, void *opaque, Error **errp) \
	{                                                                                        \
		if (visit_type_uint32(v, n, &MDEV(o)->faults.name, errp))                        \
			mlog(MDEV(o), "fault: %s = %u", n, MDEV(o)->faults.name);                \
	}

PROP_U32(drop_next)
PROP_U32(drop_every)
PROP_U32(drop_ops)
PROP_U32(rnr_next)
PROP_U32(access_error_rkey)
PROP_U32(refuse_op)
PROP_U32(refuse_next)
PROP_U32(delay_us)
PROP_U32(rate_mbit)

static void dropped_get(Object *o, Visitor *v, const char *n, void *opaque, Error **errp)
{
	visit_type_uint64(v, n, &MDEV(o)->faults.dropped, errp);
}

static bool link_down_get(Object *o, Error **errp)
{
	return MDEV(o)->faults.link_down;
}

static void link_down_set(Object *o, bool down, Error **errp)
{
	struct mdev *d = MDEV(o);

	if (down == d->faults.link_down)
		return;
	d->faults.link_down = down;
	mlog(d, "fault: link-down = %d", down);
	port_event(d, !down);
}

static bool fatal_get(Object *o, Error **errp)
{
	return MDEV(o)->faults.fatal;
}

static void fatal_set(Object *o, bool fatal, Error **errp)
{
	struct mdev *d = MDEV(o);

	/* One that works again has forgotten all. */
	if (d->faults.fatal && !fatal)
		device_reset_all(d);
	d->faults.fatal = fatal;
	mlog(d, "fault: fatal = %d", fatal);
}

static bool absent_get(Object *o, Error **errp)
{
	return MDEV(o)->faults.absent;
}

static void absent_set(Object *o, bool absent, Error **errp)
{
	struct mdev *d = MDEV(o);

	/* What comes back has forgotten all. */
	device_reset_all(d);
	d->faults.absent = absent;
	mlog(d, "fault: absent = %d", absent);
}

static bool reject_silent_get(Object *o, Error **errp)
{
	return MDEV(o)->faults.dc_reject_silent;
}

static void reject_silent_set(Object *o, bool silent, Error **errp)
{
	MDEV(o)->faults.dc_reject_silent = silent;
}

void faults_class_init(ObjectClass *c)
{
	object_class_property_add(c, "drop-next", "uint32", drop_next_get, drop_next_set, NULL,
				  NULL);
	object_class_property_add(c, "drop-every", "uint32", drop_every_get, drop_every_set, NULL,
				  NULL);
	object_class_property_add(c, "drop-ops", "uint32", drop_ops_get, drop_ops_set, NULL, NULL);
	object_class_property_add(c, "dropped", "uint64", dropped_get, NULL, NULL, NULL);
	object_class_property_add(c, "rnr-next", "uint32", rnr_next_get, rnr_next_set, NULL, NULL);
	object_class_property_add(c, "access-error-rkey", "uint32", access_error_rkey_get,
				  access_error_rkey_set, NULL, NULL);
	object_class_property_add(c, "refuse-op", "uint32", refuse_op_get, refuse_op_set, NULL,
				  NULL);
	object_class_property_add(c, "refuse-next", "uint32", refuse_next_get, refuse_next_set,
				  NULL, NULL);
	object_class_property_add(c, "delay-us", "uint32", delay_us_get, delay_us_set, NULL, NULL);
	object_class_property_add(c, "rate-mbit", "uint32", rate_mbit_get, rate_mbit_set, NULL,
				  NULL);
	object_class_property_add_bool(c, "link-down", link_down_get, link_down_set);
	object_class_property_add_bool(c, "fatal", fatal_get, fatal_set);
	object_class_property_add_bool(c, "absent", absent_get, absent_set);
	object_class_property_add_bool(c, "dc-reject-silent", reject_silent_get, reject_silent_set);
}
