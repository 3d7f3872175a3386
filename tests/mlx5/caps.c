// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the device says that it can do. A capability that is not set here the model does not have.
 */
#include "mlx5.h"

#define CAP(f, v) SET(cmd_hca_cap, d->caps_max, f, v)

void caps_init(struct mdev *d)
{
	/* one InfiniBand port, ports and counters by vport commands */
	CAP(port_type, 0);
	CAP(num_ports, 1);
	CAP(ib_virt, 1);
	CAP(vport_counters, 1);
	CAP(local_ca_ack_delay, 16);
	/* transports */
	CAP(rc, 1);
	CAP(uc, 1);
	CAP(ud, 1);
	CAP(xrc, 1);
	CAP(dct, 1);
	CAP(atomic, 1);
	CAP(pkv, 1);
	CAP(qkv, 1);
	CAP(log_max_msg, LOG_MAX_MSG);
	CAP(log_max_ra_req_qp, 4);
	CAP(log_max_ra_res_qp, 4);
	CAP(log_max_ra_req_dc, 4);
	CAP(log_max_ra_res_dc, 4);
	/* objects */
	CAP(log_max_qp, 16);
	CAP(log_max_qp_sz, 15);
	CAP(log_max_srq, 14);
	CAP(log_max_srq_sz, 15);
	CAP(log_max_cq, 16);
	CAP(log_max_cq_sz, 20);
	CAP(log_max_eq, 4);
	CAP(max_num_eqs, NUM_EQS);
	CAP(log_max_eq_sz, 16);
	CAP(log_max_mkey, 18);
	CAP(log_max_pd, 14);
	CAP(log_max_xrcd, 12);
	CAP(log_max_rmp, 14);
	CAP(log_max_transport_domain, 10);
	CAP(max_qp_cnt, 64);
	CAP(out_of_seq_cnt, 1);
	CAP(retransmission_q_counters, 1);
	CAP(enhanced_error_q_counters, 1);
	CAP(max_wqe_sz_sq, MAX_WQE);
	CAP(max_wqe_sz_rq, 512);
	CAP(max_wqe_sz_sq_dc, MAX_WQE);
	CAP(basic_cyclic_rcv_wqe, 1);
	CAP(cqe_version, 1);
	CAP(cq_resize, 1);
	CAP(cq_oi, 1);
	CAP(cqe_128_always, 0);
	/* memory */
	CAP(log_max_mrw_sz, 63);
	CAP(log_max_klm_list_size, 14);
	CAP(log_max_bsf_list_size, 0);
	CAP(max_indirection, 4);
	CAP(umr_ptr_rlky, 1);
	CAP(log_pg_sz, 12);
	CAP(start_pad, 1);
	CAP(compact_address_vector, 1);
	/* user access regions: a page each, doorbells of 8 bytes only */
	CAP(bf, 0);
	CAP(log_bf_reg_size, 9);
	CAP(uar_sz, 0);
	CAP(num_of_uars_per_page, 1);
	CAP(device_frequency_mhz, 1000);
	CAP(device_frequency_khz, 1000000);

	SET(atomic_caps, d->atomic_max, atomic_operations, 3); /* compare and swap, fetch and add */
	SET(atomic_caps, d->atomic_max, atomic_size_qp, 1 << 3); /* of 8 bytes */
	SET(atomic_caps, d->atomic_max, atomic_size_dc, 1 << 3);
	SET(atomic_caps, d->atomic_max, supported_atomic_req_8B_endianness_mode_1, 1);
}
