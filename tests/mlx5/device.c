// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Commands for the device as a whole: start and end, pages, capabilities, the port and its
 * registers.
 */
#include "mlx5.h"

#define SYNDROME_FILE 2
#define BOOT_PAGES 8
#define INIT_PAGES 16
#define NUM_GIDS 8
#define NUM_PKEYS 128

enum { PAGES_BOOT = 1, PAGES_INIT = 2, PAGES_REGULAR = 3 };
enum { PAGES_CANT_GIVE = 0, PAGES_GIVE = 1, PAGES_TAKE = 2 };
enum { CAP_GENERAL = 0, CAP_ATOMIC = 3 };
enum {
	REG_PMTU = 0x5003,
	REG_PTYS = 0x5004,
	REG_PPCNT = 0x5008,
	REG_PVLC = 0x500f,
	REG_NODE_DESC = 0x6001,
	REG_HOST_ENDIANNESS = 0x7004,
};

#define PPCNT_INFINIBAND 0x20

static int cmd_enable_hca(struct cmd *c)
{
	if (GET(enable_hca_in, c->in, function_id))
		return refuse(c, STAT_BAD_PARAM, "function %u is none of this device",
			      (int)GET(enable_hca_in, c->in, function_id));
	if (c->d->hca_enabled)
		return refuse(c, STAT_BAD_SYS_STATE, "the HCA is enabled");
	c->d->hca_enabled = true;
	return STAT_OK;
}

static int cmd_disable_hca(struct cmd *c)
{
	struct mdev *d = c->d;

	if (d->npages)
		mlog(d, "the HCA is disabled with %u pages that were not taken back", d->npages);
	device_reset_all(d);
	return STAT_OK;
}

static int cmd_query_issi(struct cmd *c)
{
	SET(query_issi_out, c->out, current_issi, c->d->issi);
	SET(query_issi_out, c->out, supported_issi_dw0, 1 << 1 | 1 << 0);
	return STAT_OK;
}

static int cmd_set_issi(struct cmd *c)
{
	uint32_t issi = GET(set_issi_in, c->in, current_issi);

	if (issi != 1)
		return refuse(c, STAT_BAD_PARAM, "ISSI %u: the model has commands of ISSI 1 only",
			      issi);
	c->d->issi = issi;
	return STAT_OK;
}

static int cmd_query_pages(struct cmd *c)
{
	static const uint32_t n[] = { [PAGES_BOOT] = BOOT_PAGES, [PAGES_INIT] = INIT_PAGES,
				      [PAGES_REGULAR] = 0 };

	if (c->op_mod < PAGES_BOOT || c->op_mod > PAGES_REGULAR)
		return refuse(c, STAT_BAD_PARAM, "op_mod");
	SET(query_pages_out, c->out, num_pages, n[c->op_mod]);
	return STAT_OK;
}

static int cmd_manage_pages(struct cmd *c)
{
	struct mdev *d = c->d;
	uint32_t n = GET(manage_pages_in, c->in, input_num_entries), i;

	if (GET(manage_pages_in, c->in, function_id))
		return refuse(c, STAT_BAD_PARAM, "pages of another function");
	switch (c->op_mod) {
	case PAGES_CANT_GIVE:
		return STAT_OK;
	case PAGES_GIVE:
		if (c->in_len < SZ(manage_pages_in) + 8ull * n)
			return refuse(c, STAT_BAD_INP_LEN, "%u pages in %u bytes", n, c->in_len);
		if (d->npages + n > d->room_pages) {
			d->room_pages = d->npages + n;
			d->pages = g_renew(uint64_t, d->pages, d->room_pages);
		}
		for (i = 0; i < n; i++)
			d->pages[d->npages++] = ldq_be_p(c->in + SZ(manage_pages_in) + 8 * i);
		return STAT_OK;
	case PAGES_TAKE:
		n = MIN(n, (c->out_len - SZ(manage_pages_out)) / 8);
		n = MIN(n, d->npages);
		for (i = 0; i < n; i++)
			stq_be_p(c->out + SZ(manage_pages_out) + 8 * i, d->pages[--d->npages]);
		SET(manage_pages_out, c->out, output_num_entries, n);
		return STAT_OK;
	}
	return refuse(c, STAT_BAD_PARAM, "op_mod");
}

static int cap_group(struct cmd *c, uint32_t group, uint8_t **cur, uint8_t **max)
{
	switch (group) {
	case CAP_GENERAL:
		*cur = c->d->caps_cur;
		*max = c->d->caps_max;
		return STAT_OK;
	case CAP_ATOMIC:
		*cur = c->d->atomic_cur;
		*max = c->d->atomic_max;
		return STAT_OK;
	}
	return refuse(c, STAT_BAD_PARAM, "capabilities of group 0x%x are none of this device",
		      group);
}

static int cmd_query_hca_cap(struct cmd *c)
{
	uint8_t *cur = NULL, *max = NULL;
	int err = cap_group(c, c->op_mod >> 1, &cur, &max);

	if (!err)
		memcpy(c->out + 16, c->op_mod & 1 ? cur : max,
		       MIN(c->out_len - 16, sizeof(c->d->caps_max)));
	return err;
}

/* What a driver may choose; all else must be as the device has it. */
static int cmd_set_hca_cap(struct cmd *c)
{
	static const struct field may[] = {
		F(cmd_hca_cap, pkey_table_size), F(cmd_hca_cap, log_max_qp),
		F(cmd_hca_cap, cmdif_checksum),
		F(cmd_hca_cap, log_uar_page_sz), F(cmd_hca_cap, dct),
	}, may_atomic[] = { F(atomic_caps, atomic_req_8B_endianness_mode) };
	uint8_t *cur = NULL, *max = NULL, *want = c->in + 16, left[4096];
	int err = cap_group(c, c->op_mod >> 1, &cur, &max);
	bool general = cur == c->d->caps_cur;
	const struct field *f = general ? may : may_atomic;
	size_t n = general ? G_N_ELEMENTS(may) : G_N_ELEMENTS(may_atomic), i;
	uint32_t len;

	if (err)
		return err;
	if (c->d->hca_ready)
		return refuse(c, STAT_BAD_SYS_STATE, "capabilities are set before INIT_HCA");
	len = MIN(c->in_len - 16, sizeof(left));
	memcpy(left, want, len);
	for (i = 0; i < n; i++)
		field_copy(left, cur, &f[i]);
	/* Of the atomic ones drivers name just what they choose. */
	for (i = 0; i < len; i++)
		if (left[i] != cur[i] && (general || left[i]))
			return refuse(
				c, STAT_BAD_PARAM,
				"capability at 0x%zx may not be changed from 0x%02x to 0x%02x", i,
				cur[i], left[i]);
	if (general && GET(cmd_hca_cap, want, log_max_qp) > GET(cmd_hca_cap, max, log_max_qp))
		return refuse(c, STAT_BAD_PARAM, "log_max_qp");
	if (general &&
	    (GET(cmd_hca_cap, want, cmdif_checksum) || GET(cmd_hca_cap, want, log_uar_page_sz) ||
	     GET(cmd_hca_cap, want, pkey_table_size)))
		return refuse(c, STAT_BAD_PARAM, "checksums, large UARs or more than 128 keys");
	for (i = 0; i < n; i++)
		field_copy(cur, want, &f[i]);
	return STAT_OK;
}

static int cmd_init_hca(struct cmd *c)
{
	if (c->d->hca_ready)
		return refuse(c, STAT_BAD_SYS_STATE, "the HCA is initialized");
	if (c->d->npages < BOOT_PAGES + INIT_PAGES)
		return refuse(c, STAT_NO_RES, "%u pages given of %u", c->d->npages,
			      BOOT_PAGES + INIT_PAGES);
	c->d->hca_ready = true;
	return STAT_OK;
}

static int cmd_teardown_hca(struct cmd *c)
{
	struct mdev *d = c->d;

	if (c->op_mod > 1)
		return refuse(c, STAT_BAD_PARAM, "a kind of teardown that is not implemented");
	if (!c->op_mod && (d->qps.count || d->cqs.count || d->eqs.count || d->srqs.count ||
			   d->mkeys.count || d->pds.count || d->xrcds.count))
		mlog(d,
		     "left behind: QPs %u, CQs %u, EQs %u, SRQs %u, mkeys %u, PDs %u, XRCDs %u",
		     d->qps.count, d->cqs.count, d->eqs.count, d->srqs.count, d->mkeys.count,
		     d->pds.count, d->xrcds.count);
	objects_reset(d);
	d->hca_ready = false;
	return STAT_OK;
}

static int cmd_query_adapter(struct cmd *c)
{
	SET(query_adapter_out, c->out, query_adapter_struct.ieee_vendor_id, 0x2c9);
	memcpy(ADDR(query_adapter_out, c->out, query_adapter_struct.vsd_contd_psid), "MODEL", 5);
	return STAT_OK;
}

static int cmd_set_driver_version(struct cmd *c)
{
	return STAT_OK;
}

static int cmd_query_special_contexts(struct cmd *c)
{
	SET(query_special_contexts_out, c->out, resd_lkey, RESERVED_LKEY);
	return STAT_OK;
}

static int other_vport(struct cmd *c)
{
	return refuse(c, STAT_BAD_PARAM, "another vport or port");
}

static int cmd_query_vport_context(struct cmd *c)
{
	struct mdev *d = c->d;
	uint8_t *v = ADDR(query_hca_vport_context_out, c->out, hca_vport_context);
	bool up = !d->faults.link_down;

	if (GET(query_hca_vport_context_in, c->in, other_vport) ||
	    GET(query_hca_vport_context_in, c->in, port_num) > 1)
		return other_vport(c);
	SET(hca_vport_context, v, port_physical_state, up ? 5 : 2);
	SET(hca_vport_context, v, vport_state, up ? 4 : 1);
	SET(hca_vport_context, v, lid, d->lid);
	SET(hca_vport_context, v, cap_mask1,
	    0x02110000); /* a PMA with extended counters, CM and system image GUID */
	SET(hca_vport_context, v, system_image_guid, d->guid);
	SET(hca_vport_context, v, port_guid, d->guid);
	SET(hca_vport_context, v, node_guid, d->guid);
	SET(hca_vport_context, v, subnet_timeout, 18);
	return STAT_OK;
}

/* GID 0, the only one. */
void gid_fill(const struct mdev *d, uint8_t *gid)
{
	stq_be_p(gid, 0xfe80000000000000ull);
	stq_be_p(gid + 8, d->guid);
}

static int cmd_query_vport_gid(struct cmd *c)
{
	uint32_t i = GET(query_hca_vport_gid_in, c->in, gid_index);
	uint8_t *g = c->out + SZ(query_hca_vport_gid_out);

	if (GET(query_hca_vport_gid_in, c->in, other_vport) ||
	    GET(query_hca_vport_gid_in, c->in, port_num) > 1)
		return other_vport(c);
	if (i >= NUM_GIDS)
		return refuse(c, STAT_BAD_INDEX, "GID %u", i);
	if (c->out_len < SZ(query_hca_vport_gid_out) + 16)
		return refuse(c, STAT_BAD_OUTP_LEN, "no room for a GID");
	SET(query_hca_vport_gid_out, c->out, gids_num, 1);
	if (!i)
		gid_fill(c->d, g);
	return STAT_OK;
}

static int cmd_query_vport_pkey(struct cmd *c)
{
	uint32_t i = GET(query_hca_vport_pkey_in, c->in, pkey_index), n, k;
	uint8_t *out = c->out + SZ(query_hca_vport_pkey_out);

	if (GET(query_hca_vport_pkey_in, c->in, other_vport) ||
	    GET(query_hca_vport_pkey_in, c->in, port_num) > 1)
		return other_vport(c);
	if (i != 0xffff && i >= NUM_PKEYS)
		return refuse(c, STAT_BAD_INDEX, "P_Key %u", i);
	n = i == 0xffff ? NUM_PKEYS : 1;
	if (c->out_len < SZ(query_hca_vport_pkey_out) + 4 * n)
		return refuse(c, STAT_BAD_OUTP_LEN, "no room for %u P_Keys", n);
	for (k = 0; k < n; k++)
		stl_be_p(out + 4 * k, k || (i && i != 0xffff) ? 0 : 0xffff);
	return STAT_OK;
}

static int cmd_query_vport_state(struct cmd *c)
{
	SET(query_vport_state_out, c->out, state, !c->d->faults.link_down);
	SET(query_vport_state_out, c->out, admin_state, 1);
	return STAT_OK;
}

static int cmd_query_vport_counter(struct cmd *c)
{
	struct counters *n = &c->d->cnt;

	if (GET(query_vport_counter_in, c->in, other_vport) ||
	    GET(query_vport_counter_in, c->in, port_num) > 1)
		return other_vport(c);
	SET(query_vport_counter_out, c->out, received_ib_unicast.packets, n->rx_packets);
	SET(query_vport_counter_out, c->out, received_ib_unicast.octets, n->rx_bytes);
	SET(query_vport_counter_out, c->out, transmitted_ib_unicast.packets, n->tx_packets);
	SET(query_vport_counter_out, c->out, transmitted_ib_unicast.octets, n->tx_bytes);
	return STAT_OK;
}

static int cmd_access_reg(struct cmd *c)
{
	uint32_t reg = GET(access_register_in, c->in, register_id);
	uint8_t *r = c->out + SZ(access_register_out);
	uint32_t room = c->out_len - SZ(access_register_out),
		 have = c->in_len - SZ(access_register_in);
	bool write = !c->op_mod;
	uint8_t data[256] = { 0 };

	memcpy(data, c->in + SZ(access_register_in), MIN(have, sizeof(data)));
	switch (write ? reg << 1 | 1 : reg << 1) {
	case REG_HOST_ENDIANNESS << 1 | 1:
		if (data[0])
			return refuse(c, STAT_BAD_PARAM, "a big-endian host");
		break;
	case REG_HOST_ENDIANNESS << 1:
		break;
	case REG_PMTU << 1:
		SET(pmtu_reg, data, max_mtu, 4096);
		SET(pmtu_reg, data, admin_mtu, 4096);
		SET(pmtu_reg, data, oper_mtu, 4096);
		break;
	case REG_PTYS << 1:
		SET(ptys_reg, data, ib_link_width_capability, 1 << 1); /* 4x */
		SET(ptys_reg, data, ib_link_width_admin, 1 << 1);
		SET(ptys_reg, data, ib_link_width_oper, 1 << 1);
		SET(ptys_reg, data, ib_proto_capability, 1 << 5); /* EDR */
		SET(ptys_reg, data, ib_proto_admin, 1 << 5);
		SET(ptys_reg, data, ib_proto_oper, 1 << 5);
		break;
	case REG_PPCNT << 1:
		/* Errors of the link, of which there are none. */
		if (GET(ppcnt_reg, data, grp) != PPCNT_INFINIBAND)
			return refuse(c, STAT_BAD_PARAM, "port counters of group 0x%x",
				      (int)GET(ppcnt_reg, data, grp));
		break;
	case REG_PVLC << 1:
		SET(pvlc_reg, data, vl_hw_cap, 4);
		SET(pvlc_reg, data, vl_admin, 4);
		SET(pvlc_reg, data, vl_operational, 4);
		break;
	case REG_NODE_DESC << 1 | 1:
		memcpy(c->d->node_desc, data, sizeof(c->d->node_desc));
		break;
	case REG_NODE_DESC << 1:
		memcpy(data, c->d->node_desc, sizeof(c->d->node_desc));
		break;
	default:
		return refuse(c, STAT_BAD_PARAM, "register 0x%x %s", reg,
			      write ? "written" : "read");
	}
	snprintf(c->why, sizeof(c->why), "register 0x%x %s", reg, write ? "written" : "read");
	memcpy(r, data, MIN(room, sizeof(data)));
	return STAT_OK;
}

/* No subnet management agent: what is asked of it is answered as MADs are, "unsupported". */
static int cmd_mad_ifc(struct cmd *c)
{
	uint8_t *in = ADDR(mad_ifc_in, c->in, mad),
		*out = ADDR(mad_ifc_out, c->out, response_mad_packet);

	memcpy(out, in, 256);
	out[3] = in[3] | 0x80;
	stw_be_p(out + 4, 0x000c);
	snprintf(c->why, sizeof(c->why), "class 0x%x method 0x%x attribute 0x%x: unsupported",
		 in[1], in[3], lduw_be_p(in + 16));
	return STAT_OK;
}

static const struct field enable_fields[] = { F(enable_hca_in, function_id), {} };
static const struct field set_issi_fields[] = { F(set_issi_in, current_issi), {} };
static const struct field query_pages_fields[] = { F(query_pages_in, function_id), {} };
static const struct field manage_pages_fields[] = { F(manage_pages_in, function_id),
						    F(manage_pages_in, input_num_entries),
						    {} };
static const struct field set_cap_fields[] = { F(set_hca_cap_in, capability), {} };
static const struct field init_hca_fields[] = { F(init_hca_in, sw_owner_id), {} };
static const struct field teardown_fields[] = { F(teardown_hca_in, profile), {} };
static const struct field driver_version_fields[] = { F(set_driver_version_in, driver_version),
						      {} };
static const struct field vport_context_fields[] = { F(query_hca_vport_context_in, other_vport),
						     F(query_hca_vport_context_in, port_num),
						     {} };
static const struct field vport_gid_fields[] = { F(query_hca_vport_gid_in, other_vport),
						 F(query_hca_vport_gid_in, port_num),
						 F(query_hca_vport_gid_in, gid_index),
						 {} };
static const struct field vport_pkey_fields[] = { F(query_hca_vport_pkey_in, other_vport),
						  F(query_hca_vport_pkey_in, port_num),
						  F(query_hca_vport_pkey_in, pkey_index),
						  {} };
static const struct field vport_counter_fields[] = { F(query_vport_counter_in, other_vport),
						     F(query_vport_counter_in, port_num),
						     {} };
static const struct field access_reg_fields[] = { F(access_register_in, register_id),
						  F(access_register_in, argument),
						  {} };
static const struct field mad_ifc_fields[] = { F(mad_ifc_in, remote_lid),
					       F(mad_ifc_in, port),
					       F(mad_ifc_in, mad),
					       {} };

const struct cmd_def device_cmds[] = {
	CMD(MLX5_CMD_OP_ENABLE_HCA, enable_hca, WHEN_ANY, TAIL_NONE, cmd_enable_hca, enable_fields),
	CMD(MLX5_CMD_OP_DISABLE_HCA, disable_hca, WHEN_ENABLED, TAIL_NONE, cmd_disable_hca, NULL),
	CMD(MLX5_CMD_OP_QUERY_ISSI, query_issi, WHEN_ENABLED, TAIL_NONE, cmd_query_issi, NULL),
	CMD(MLX5_CMD_OP_SET_ISSI, set_issi, WHEN_ENABLED, TAIL_NONE, cmd_set_issi, set_issi_fields),
	CMD(MLX5_CMD_OP_QUERY_PAGES, query_pages, WHEN_ENABLED, TAIL_NONE, cmd_query_pages,
	    query_pages_fields),
	CMD(MLX5_CMD_OP_MANAGE_PAGES, manage_pages, WHEN_ENABLED, TAIL_ANY, cmd_manage_pages,
	    manage_pages_fields),
	{ MLX5_CMD_OP_QUERY_HCA_CAP, "query_hca_cap", SZ(query_hca_cap_in), 16, TAIL_NONE,
	  WHEN_ENABLED, cmd_query_hca_cap, NULL },
	CMD(MLX5_CMD_OP_SET_HCA_CAP, set_hca_cap, WHEN_ENABLED, TAIL_NONE, cmd_set_hca_cap,
	    set_cap_fields),
	CMD(MLX5_CMD_OP_INIT_HCA, init_hca, WHEN_ENABLED, TAIL_NONE, cmd_init_hca,
	    init_hca_fields),
	CMD(MLX5_CMD_OP_TEARDOWN_HCA, teardown_hca, WHEN_ENABLED, TAIL_NONE, cmd_teardown_hca,
	    teardown_fields),
	CMD(MLX5_CMD_OP_QUERY_ADAPTER, query_adapter, WHEN_READY, TAIL_NONE, cmd_query_adapter,
	    NULL),
	CMD(MLX5_CMD_OP_SET_DRIVER_VERSION, set_driver_version, WHEN_ENABLED, TAIL_NONE,
	    cmd_set_driver_version, driver_version_fields),
	{ MLX5_CMD_OP_QUERY_SPECIAL_CONTEXTS, "query_special_contexts",
	  SZ(query_special_contexts_in), 16, TAIL_NONE, WHEN_READY, cmd_query_special_contexts,
	  NULL },
	CMD(MLX5_CMD_OP_QUERY_HCA_VPORT_CONTEXT, query_hca_vport_context, WHEN_READY, TAIL_NONE,
	    cmd_query_vport_context, vport_context_fields),
	CMD(MLX5_CMD_OP_QUERY_HCA_VPORT_GID, query_hca_vport_gid, WHEN_READY, TAIL_NONE,
	    cmd_query_vport_gid, vport_gid_fields),
	CMD(MLX5_CMD_OP_QUERY_HCA_VPORT_PKEY, query_hca_vport_pkey, WHEN_READY, TAIL_NONE,
	    cmd_query_vport_pkey, vport_pkey_fields),
	CMD(MLX5_CMD_OP_QUERY_VPORT_STATE, query_vport_state, WHEN_READY, TAIL_NONE,
	    cmd_query_vport_state, NULL),
	CMD(MLX5_CMD_OP_QUERY_VPORT_COUNTER, query_vport_counter, WHEN_READY, TAIL_NONE,
	    cmd_query_vport_counter, vport_counter_fields),
	CMD(MLX5_CMD_OP_ACCESS_REG, access_register, WHEN_ENABLED, TAIL_ANY, cmd_access_reg,
	    access_reg_fields),
	CMD(MLX5_CMD_OP_MAD_IFC, mad_ifc, WHEN_READY, TAIL_NONE, cmd_mad_ifc, mad_ifc_fields),
	{}
};
